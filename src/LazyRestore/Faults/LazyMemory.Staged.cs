using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Faults;

/// <content>
/// Pages that are on this host already. Until they are in place they are owed like all others, so that nothing depends on them: whoever takes over, or connects
/// anew, has the source serve them.
/// </content>
internal sealed unsafe partial class LazyMemory
{
    /// <summary>Pages put in place with the one that a task waits for: at 0.85 us each, that costs less than a second fault.</summary>
    private const int StagedFaultAround = 16;

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
        if (_staged is not { } staged || !staged.TryBorrow(space.Process.Pid, page.DumpTime, StagedFaultAround, out BorrowedPages borrowed))
        {
            return false;
        }

        Errno errno;
        try
        {
            Filling filling = borrowed.Bytes is null ? Filling.StagedZeroes : Filling.StagedBytes;
            errno = InstallBorrowed(space, page, borrowed, borrowed.Count, filling);
            if (errno == Errno.ENOENT && borrowed.Count > 1)
            {
                // They reach over the end of the mapping, and then nothing is done at all.
                errno = InstallBorrowed(space, page, borrowed, 1, filling);
            }
        }
        finally
        {
            staged.Return(borrowed);
        }

        if (errno == Errno.None)
        {
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
            return true;
        }

        return true;
    }

    private Errno InstallBorrowed(AddressSpace space, OwedRun page, in BorrowedPages borrowed, int count, Filling filling)
    {
        bool owed = InstallSlice(space, page.DumpTime, new PageRange(page.DumpTime, (ulong)count), count, borrowed.Bytes, filling, out OwedRun slice, out Errno errno);
        if (!owed || errno != Errno.None || slice.DumpTime != page.DumpTime)
        {
            Wake(space, page.RunTime);
        }

        return errno;
    }

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
