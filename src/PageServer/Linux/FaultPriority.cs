using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>
/// The priority of the threads that a task with a missing page waits for: the fault thread, and every thread that installs pages. The latter hold
/// what the fault thread needs; preempted by the restored tasks' own work in that moment they would stall all faults for a scheduler's slice.
/// </summary>
internal static partial class FaultPriority
{
    /// <summary>Before ordinary work, without the monopoly of a real-time class.</summary>
    private const int Nice = -10;

    /// <summary>Raises the calling thread. False when that is not permitted, which costs latency under load and nothing else.</summary>
    /// <remarks>setpriority(2): with PRIO_PROCESS (0) and 0 it is the thread's alone. .NET's own thread priority does nothing on Linux.</remarks>
    public static bool TryRaise() => setpriority(which: 0, who: 0, Nice) == 0;

    [LibraryImport("libc")]
    private static partial int setpriority(int which, uint who, int prio);
}
