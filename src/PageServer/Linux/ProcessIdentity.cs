namespace PostCopy.Linux;

/// <summary>A process that can be recognised later: its pid, and when it started, which no other process with the same pid can share.</summary>
/// <param name="Pid">Its pid; 0 for none.</param>
/// <param name="StartTicks">Clock ticks from boot to its start (proc_pid_stat(5), field 22).</param>
internal readonly record struct ProcessIdentity(int Pid, ulong StartTicks)
{
    /// <summary>The process that has this pid now. Throws <see cref="IOException"/> when none has.</summary>
    internal static ProcessIdentity Of(int pid) =>
        TryRead(pid) is { } stat ? new ProcessIdentity(pid, stat.StartTicks) : throw new IOException($"there is no process {pid}");

    /// <summary>Whether it exists; as a zombie, too.</summary>
    internal bool Exists => Pid > 0 && TryRead(Pid) is { } stat && stat.StartTicks == StartTicks;

    /// <summary>Whether it exists and has not ended: a zombie has no memory any more and never runs again.</summary>
    internal bool IsAlive => Pid > 0 && TryRead(Pid) is { HasEnded: false } stat && stat.StartTicks == StartTicks;

    /// <summary>Completes when it has died, at once when it is dead already.</summary>
    internal Task WaitForEndAsync() => Exists ? ProcessEnd.WaitAsync(Pid) : Task.CompletedTask;

    private static ProcessStat? TryRead(int pid)
    {
        try
        {
            return ProcessStat.Read(pid);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException || (e is IOException && !Directory.Exists($"/proc/{pid}")))
        {
            return null;
        }
    }
}
