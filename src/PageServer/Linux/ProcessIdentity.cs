using System.Globalization;

namespace PostCopy.Linux;

/// <summary>A process that can be recognised later: its pid, and when it started, which no other process with the same pid can share.</summary>
/// <param name="Pid">Its pid; 0 for none.</param>
/// <param name="StartTicks">Clock ticks from boot to its start (proc_pid_stat(5), field 22).</param>
internal readonly record struct ProcessIdentity(int Pid, ulong StartTicks)
{
    /// <summary>The process that has this pid now. Throws <see cref="IOException"/> when none has.</summary>
    internal static ProcessIdentity Of(int pid) =>
        TryRead(pid, out ulong ticks, out _) ? new ProcessIdentity(pid, ticks) : throw new IOException($"there is no process {pid}");

    /// <summary>Whether it exists; as a zombie, too.</summary>
    internal bool Exists => Pid > 0 && TryRead(Pid, out ulong ticks, out _) && ticks == StartTicks;

    /// <summary>Whether it exists and has not ended: a zombie has no memory any more and never runs again.</summary>
    internal bool IsAlive => Pid > 0 && TryRead(Pid, out ulong ticks, out char state) && ticks == StartTicks && state is not ('Z' or 'X');

    /// <summary>Completes when it has died, at once when it is dead already.</summary>
    internal Task WaitForEndAsync() => Exists ? ProcessEnd.WaitAsync(Pid) : Task.CompletedTask;

    private static bool TryRead(int pid, out ulong ticks, out char state)
    {
        try
        {
            string stat = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/stat"));
            // The name in parentheses may hold anything: fields are counted behind its end.
            string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            ticks = ulong.Parse(fields[19], CultureInfo.InvariantCulture);
            state = fields[0][0];
            return true;
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException || (e is IOException && !Directory.Exists($"/proc/{pid}")))
        {
            (ticks, state) = (0, 'X');
            return false;
        }
    }
}
