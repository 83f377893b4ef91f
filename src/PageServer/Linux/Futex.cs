using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>
/// A word that threads of this process wait on until it changes: futex(2). For where a wait is on a page's way and what .NET waits with is too slow: its
/// locks give the CPU away (sched_yield(2)) several times before they sleep, and beside a thread that moves pages in bulk each time may last to
/// the scheduler's next tick.
/// </summary>
/// <remarks>Waits cannot be interrupted or cancelled: keep them for what is let go within microseconds.</remarks>
internal sealed unsafe partial class Futex
{
    private const nint FUTEX_WAIT_PRIVATE = 128;
    private const nint FUTEX_WAKE_PRIVATE = 129;

    private static readonly nint SYS_futex = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 98 : 202;

    /// <summary>The kernel knows the word by its address, so it must not move; in the middle of 128 bytes it has its cache line of 64 for itself.</summary>
    private readonly int[] _memory = GC.AllocateArray<int>(32, pinned: true);

    private readonly int* _word;

    internal Futex() => _word = (int*)Marshal.UnsafeAddrOfPinnedArrayElement(_memory, 16);

    /// <summary>The word.</summary>
    internal ref int Word => ref *_word;

    /// <summary>Sleeps until <see cref="WakeAll"/>, unless the word is not <paramref name="expected"/> any more. May return without either.</summary>
    internal void Wait(int expected) => _ = syscall(SYS_futex, _word, FUTEX_WAIT_PRIVATE, expected, timeout: 0);

    /// <summary>Wakes everybody who waits.</summary>
    internal void WakeAll() => _ = syscall(SYS_futex, _word, FUTEX_WAKE_PRIVATE, int.MaxValue, timeout: 0);

    [LibraryImport("libc")]
    private static partial nint syscall(nint number, int* word, nint operation, nint value, nint timeout);
}
