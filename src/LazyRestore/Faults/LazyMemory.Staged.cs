using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Faults;

/// <content>
/// Pages that are on this host already. Until they are in place they are owed like all others, so that nothing depends on them: whoever takes over, or connects
/// anew, has the source serve them.
/// </content>
internal sealed unsafe partial class LazyMemory
{
    /// <summary>Pages put in place behind the one that a task waited for: at 0.85 us each, that costs less than a second fault.</summary>
    private const int StagedFaultAround = 15;

    private volatile IStagedPages? _staged;

    /// <summary>From now on faults on these pages are served from them.</summary>
    public void UseStaged(IStagedPages staged) => _staged = staged;

    /// <summary>Until pages that no task asked for may be installed.</summary>
    /// <exception cref="OperationCanceledException">The service ended.</exception>
    public void WaitForRestore() => _restoreFinished.Wait(_closing.Token);

    /// <summary>As <see cref="Install"/>, for pages that were copied before the freeze; zero pages when <paramref name="bytes"/> is null.</summary>
    public void InstallStaged(ImagePid pid, PageRange dumpTime, byte* bytes) =>
        InstallInAll(Find(pid), dumpTime, bytes, bytes is null ? Filling.StagedZeroes : Filling.StagedBytes);

    /// <summary>
    /// Puts a page in place that a task waits for. One try, because what would make for a second one is an event that this thread has to read first; a try that
    /// fails wakes the task, which faults again if it still has to. False when the page is not here.
    /// </summary>
    private bool TryServeLocally(AddressSpace space, OwedRun page)
    {
        if (_staged is not { } staged || !staged.TryBorrow(space.Process.Pid, page.DumpTime, 1, out BorrowedPages borrowed))
        {
            return false;
        }

        Errno errno;
        try
        {
            bool owed = InstallBorrowed(space, page.DumpTime, borrowed, out OwedRun slice, out errno);
            if (!owed || errno != Errno.None || slice.DumpTime != page.DumpTime)
            {
                Wake(space, page.RunTime);
            }
        }
        finally
        {
            staged.Return(borrowed);
        }

        if (errno == Errno.None)
        {
            _isShortOfMemory = false;
            Counters.AddLocalFault();
            CompleteWhenDrained();
        }
        else if (errno == Errno.ENOMEM)
        {
            BeShortOfMemory(space);
            Thread.Sleep(1);
        }
        else if (AddressSpace.MeansGone(errno))
        {
            Retire(space);
        }

        return true;
    }

    /// <summary>
    /// Behind a page that was served from here: those that follow it are likely to be missed next. Nobody waits for them, so one that cannot be put in place, as where
    /// they reach over the end of the mapping, is left to whoever does.
    /// </summary>
    private void FillAround(AddressSpace space, ulong address)
    {
        if (!space.Owed.TryFind(address + PageSize.ToBytes(1), out OwedRun next)
            || !_staged!.TryBorrow(space.Process.Pid, next.DumpTime, StagedFaultAround, out BorrowedPages borrowed))
        {
            return;
        }

        try
        {
            InstallBorrowed(space, next.DumpTime, borrowed, out _, out _);
        }
        finally
        {
            _staged.Return(borrowed);
        }

        CompleteWhenDrained();
    }

    private bool InstallBorrowed(AddressSpace space, ulong dumpTime, in BorrowedPages borrowed, out OwedRun slice, out Errno errno) => InstallSlice(
        space, dumpTime, new PageRange(dumpTime, (ulong)borrowed.Count), borrowed.Count, borrowed.Bytes,
        borrowed.Bytes is null ? Filling.StagedZeroes : Filling.StagedBytes, out slice, out errno);

    /// <summary>With the lock, so that no other thread closes the descriptor meanwhile.</summary>
    private static void Wake(AddressSpace space, ulong runTime)
    {
        space.Lock.EnterShared();
        try
        {
            if (!space.IsGone)
            {
                space.Uffd.Wake(runTime, PageSize.Bytes);
            }
        }
        finally
        {
            space.Lock.ExitShared();
        }
    }
}
