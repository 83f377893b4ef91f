using System.Globalization;
using System.Runtime.InteropServices;
using PostCopy.Linux;

namespace PostCopy.Perf.Support;

/// <summary>
/// Keeps a program, the threads of this process, and processes that they start, on one CPU (sched_setaffinity(2)). A fault passes through four threads, of which one runs
/// at a time; whether the kernel wakes them where the last one ran or on another, sleeping CPU is decided by where they happened to be at the start, and
/// counts for more than all they do.
/// </summary>
internal sealed unsafe partial class OneCpu : IDisposable
{
    private const int MaskWords = 16;

    private readonly (int Thread, ulong[] Mask)[] _before;

    private OneCpu((int Thread, ulong[] Mask)[] before) => _before = before;

    /// <param name="program">One with a single thread.</param>
    internal static OneCpu Hold(MemoryProgram program)
    {
        // Those there are: .NET gives a new one all CPUs.
        int[] threads = [.. Directory.GetDirectories("/proc/self/task").Select(static path => int.Parse(Path.GetFileName(path), CultureInfo.InvariantCulture)), program.Pid];
        OneCpu held = new([.. from thread in threads let mask = Get(thread) where mask is not null select (thread, mask)]);
        ulong[] first = new ulong[MaskWords];
        int word = Array.FindIndex(held._before[0].Mask, static word => word != 0);
        first[word] = held._before[0].Mask[word] & (~held._before[0].Mask[word] + 1);
        Array.ForEach(threads, thread => Set(thread, first));
        return held;
    }

    public void Dispose() => Array.ForEach(_before, static thread => Set(thread.Thread, thread.Mask));

    /// <summary>Null for a thread that has ended meanwhile.</summary>
    private static ulong[]? Get(int thread)
    {
        ulong[] mask = new ulong[MaskWords];
        fixed (ulong* words = mask)
        {
            return Succeeded("sched_getaffinity", sched_getaffinity(thread, MaskWords * sizeof(ulong), words)) ? mask : null;
        }
    }

    private static void Set(int thread, ulong[] mask)
    {
        fixed (ulong* words = mask)
        {
            _ = Succeeded("sched_setaffinity", sched_setaffinity(thread, MaskWords * sizeof(ulong), words));
        }
    }

    /// <summary>False for a thread that is no more: the runtime ends those of its pool as it likes.</summary>
    private static bool Succeeded(string call, int result)
    {
        if (result == 0)
        {
            return true;
        }

        LinuxException exception = LinuxException.Last(call);
        return exception.Errno == Errno.ESRCH ? false : throw exception;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int sched_getaffinity(int pid, nint size, ulong* mask);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int sched_setaffinity(int pid, nint size, ulong* mask);
}
