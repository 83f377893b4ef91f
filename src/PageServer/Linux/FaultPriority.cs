using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>
/// How the kernel schedules the threads that pages travel through. None of it is needed: where it is not permitted, or not known to the kernel, faults
/// wait longer under load and nothing else happens.
/// </summary>
internal static unsafe partial class FaultPriority
{
    /// <summary>Before ordinary work, without the monopoly of a real-time class.</summary>
    private const int Nice = -10;

    /// <summary>Behind ordinary work, a tenth of its share where both want a CPU.</summary>
    private const int NiceOfBackground = 10;

    /// <summary>The longest that the kernel grants (sched(7)); its own are some 3 ms at most. 10 ms was measured too: tails are longer with it.</summary>
    private const ulong BulkSliceNs = 100_000_000;

    private static readonly nint SYS_sched_setattr = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 274 : 314;
    private static readonly nint SYS_gettid = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 178 : 186;

    /// <summary>The calling thread (gettid(2)), for others to set its priority.</summary>
    internal static int Thread => (int)syscall(SYS_gettid, pid: 0, attr: null, flags: 0);

    /// <summary>
    /// Raises the calling thread, one that a task with a missing page waits for: the fault thread, those of the demand lane, and every thread that
    /// installs pages. The latter hold what the fault thread needs; preempted by the restored tasks' own work in that moment they would stall all faults
    /// for a scheduler's slice.
    /// </summary>
    /// <remarks>setpriority(2): with PRIO_PROCESS (0) and 0 it is the thread's alone. .NET's own thread priority does nothing on Linux.</remarks>
    public static bool TryRaise() => setpriority(which: 0, who: 0, Nice) == 0;

    /// <summary>
    /// Gives the calling thread, which moves pages in bulk, its share of a CPU in long slices. Whoever is woken and asks for a shorter one, as a task whose
    /// page has come and every thread on a fault's way do, then takes the CPU from it at once. With short slices of its own this thread would be the
    /// one to go first, to the scheduler's next tick, which may be 4 ms away.
    /// </summary>
    /// <param name="installs">Raise it too, as <see cref="TryRaise"/> does.</param>
    /// <param name="thread">Another thread of this process; 0 for the calling one.</param>
    /// <remarks>sched_setattr(2) with a runtime, which EEVDF takes for the length of a slice since Linux 6.12, and since then a shorter one that is woken
    /// ends a longer one (PREEMPT_SHORT); older kernels take no notice.</remarks>
    public static bool TryLengthenSlices(bool installs, int thread = 0)
    {
        SchedAttr attr = new() { Size = (uint)sizeof(SchedAttr), Nice = installs ? Nice : 0, RuntimeNs = BulkSliceNs };
        return syscall(SYS_sched_setattr, thread, &attr, flags: 0) == 0;
    }

    /// <summary>Lowers the calling thread, one that nobody waits for while a freeze lasts that others work to end.</summary>
    public static bool TryLower() => setpriority(which: 0, who: 0, NiceOfBackground) == 0;

    [LibraryImport("libc")]
    private static partial int setpriority(int which, uint who, int prio);

    [LibraryImport("libc")]
    private static partial nint syscall(nint number, nint pid, SchedAttr* attr, nint flags);

    /// <summary>struct sched_attr, its first version; policy 0 is SCHED_OTHER.</summary>
    private struct SchedAttr
    {
        public uint Size;
        public uint Policy;
        public ulong Flags;
        public int Nice;
        public uint Priority;
        public ulong RuntimeNs;
        public ulong DeadlineNs;
        public ulong PeriodNs;
    }
}
