using System.Globalization;

namespace PostCopy.Linux;

/// <summary>What the kernel says of a process in one line: <c>/proc/PID/stat</c> (proc_pid_stat(5)).</summary>
/// <param name="State">Its first thread's; Z or X when that has ended.</param>
/// <param name="Parent">Its parent.</param>
/// <param name="Group">Its process group.</param>
/// <param name="Session">Its session.</param>
/// <param name="Terminal">Its controlling terminal's device number; 0 for none.</param>
/// <param name="Flags">PF_ flags of the kernel (include/linux/sched.h).</param>
/// <param name="Threads">How many threads it has.</param>
/// <param name="StartTicks">Clock ticks from boot to its start.</param>
internal readonly record struct ProcessStat(char State, int Parent, int Group, int Session, int Terminal, ulong Flags, int Threads, ulong StartTicks)
{
    /// <summary>Set before anything of the task is let go.</summary>
    private const ulong PF_EXITING = 4;

    internal bool IsExiting => (Flags & PF_EXITING) != 0;

    /// <summary>Whether it is a zombie, or its first thread is while others go on.</summary>
    internal bool HasEnded => State is 'Z' or 'X';

    /// <exception cref="IOException">There is no such process.</exception>
    internal static ProcessStat Read(int pid)
    {
        string stat = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/stat"));
        // The name in parentheses may hold anything: fields are counted behind its end.
        string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
        return new ProcessStat(fields[0][0], Number(1), Number(2), Number(3), Number(4), ulong.Parse(fields[6], CultureInfo.InvariantCulture), Number(17), ulong.Parse(fields[19], CultureInfo.InvariantCulture));

        int Number(int field) => int.Parse(fields[field], CultureInfo.InvariantCulture);
    }
}
