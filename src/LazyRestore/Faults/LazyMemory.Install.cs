using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Userfault;

namespace PostCopy.Faults;

/// <content>Arriving pages.</content>
internal sealed unsafe partial class LazyMemory
{
    /// <summary>128 KiB with 4 KiB pages: the longest the fault thread waits for an installer (some 35 us). UFFDIO_COPY gains nothing from more.</summary>
    private const int SlicePages = 32;

    /// <summary>Tries before a pause becomes a sleep: most changes of an address space take microseconds.</summary>
    private const int YieldsBeforeSleep = 16;

    /// <summary>
    /// How often ENOENT for a page that is owed is taken for an UNMAP event still on its way, a millisecond each. The fault thread reads events
    /// within microseconds.
    /// </summary>
    private const int PatienceWithMissingMapping = 200;

    /// <summary>What goes into the pages.</summary>
    private enum Filling
    {
        Bytes,
        Zeroes,
        Poison,
        StagedBytes,
        StagedZeroes,
    }

    /// <summary>How often the log hears that there is no memory, however often there is some in between.</summary>
    private static readonly TimeSpan SayNoMemoryEvery = TimeSpan.FromSeconds(10);

    private volatile bool _isShortOfMemory;
    private long _saidNoMemoryAt = long.MinValue;

    /// <summary>
    /// Puts the bytes of dump-time pages into every address space that is still owed them, and wakes who waits for them. Pages nobody is owed are
    /// ignored. When it returns, each page is in place, or needless, or was reported through <see cref="Failed"/>.
    /// </summary>
    /// <remarks>
    /// Blocks while the kernel has no memory for the pages, and, before <see cref="RestoreFinished"/>, on pages whose mapping is not registered
    /// yet: until then install only what was requested. Any number of threads may install at a time; give them <see cref="FaultPriority"/>. Managed
    /// memory stays pinned for as long as this takes, so pass unmanaged or pinned memory.
    /// </remarks>
    /// <exception cref="OperationCanceledException">The service ended; the pages do not count as installed.</exception>
    public void Install(ImagePid pid, PageRange dumpTime, ReadOnlySpan<byte> bytes)
    {
        if ((ulong)bytes.Length >> PageSize.Shift != dumpTime.PageCount || !PageSize.IsAligned((ulong)bytes.Length))
        {
            throw new ArgumentException($"{bytes.Length} bytes for {dumpTime.PageCount} pages", nameof(bytes));
        }

        fixed (byte* source = bytes)
        {
            InstallInAll(Find(pid), dumpTime, source, Filling.Bytes);
        }
    }

    /// <summary>As <see cref="Install"/>, for pages that are all zeroes.</summary>
    public void InstallZero(ImagePid pid, PageRange dumpTime) => InstallInAll(Find(pid), dumpTime, source: null, Filling.Zeroes);

    /// <summary>
    /// Gives up every page that is still owed, because its bytes are lost for good: whoever touches one gets SIGBUS, and nobody waits any more. Returns
    /// how many pages each process and its children lost.
    /// </summary>
    public IReadOnlyList<(ImagePid Pid, long Pages)> Poison()
    {
        List<(ImagePid, long)> lost = [];
        foreach (DumpedProcess process in _processes.Values)
        {
            long before = Counters.Lost;
            foreach (PageRange range in process.Layout.RangesOf(process.StillOwed()))
            {
                InstallInAll(process, range, source: null, Filling.Poison);
            }

            if (Counters.Lost > before)
            {
                lost.Add((process.Pid, Counters.Lost - before));
            }
        }

        return lost;
    }

    private void InstallInAll(DumpedProcess process, PageRange dumpTime, byte* source, Filling filling)
    {
        if (!PageSize.IsAligned(dumpTime.Start) || dumpTime.PageCount > (ulong.MaxValue - dumpTime.Start) >> PageSize.Shift)
        {
            throw new InvalidDataException($"{dumpTime.PageCount} pages of process {process.Pid} at {dumpTime.Start:x} are no range of pages");
        }

        if (!process.HasArrived)
        {
            _restoreFinished.Wait(_closing.Token);
        }

        // A fork that came in between added a member; those that have the pages already are passed over quickly.
        AddressSpace[] members;
        do
        {
            members = process.Members;
            foreach (AddressSpace member in members)
            {
                InstallIn(member, dumpTime, source, filling);
            }
        }
        while (members != process.Members);

        // Dispose closes address spaces that are still owed pages; what was passed over then is not installed.
        _closing.Token.ThrowIfCancellationRequested();
        CompleteWhenDrained();
    }

    private void InstallIn(AddressSpace space, PageRange dumpTime, byte* source, Filling filling)
    {
        ulong position = dumpTime.Start;
        long maxPages = SlicePages;
        int attempts = 0;
        ulong? missing = null;
        while (InstallSlice(space, position, dumpTime, maxPages, source, filling, out OwedRun slice, out Errno errno))
        {
            _closing.Token.ThrowIfCancellationRequested();
            position = slice.DumpTime;
            switch (errno)
            {
                case Errno.None:
                    _isShortOfMemory = false;
                    position = slice.DumpTimeEnd;
                    maxPages = SlicePages;
                    attempts = 0;
                    break;
                case Errno.EAGAIN:
                    Pause(attempts++);
                    break;
                case Errno.ENOMEM:
                    BeShortOfMemory(space);
                    Thread.Sleep(1 << Math.Min(attempts++, 6));
                    break;
                case Errno.ENOENT when slice.PageCount > 1:
                    // The task has split the mapping since the dump (mprotect, a hole in the middle): find the border.
                    maxPages = slice.PageCount / 2;
                    break;
                case Errno.ENOENT when !_restoreFinished.IsSet:
                    _restoreFinished.Wait(_closing.Token);
                    break;
                case Errno.ENOENT when missing != slice.RunTime:
                    // What the task has just moved away may be found missing before the kernel says that an event is on its way. From then on it answers EAGAIN until
                    // that is read: what is missing twice at one place is not there.
                    missing = slice.RunTime;
                    break;
                case Errno.ENOENT when attempts < PatienceWithMissingMapping && !space.IsFailing && !space.LacksMappings:
                    attempts++;
                    Thread.Sleep(1);
                    break;
                case Errno.ENOENT when space.IsForked:
                    space.LacksMappings = true;
                    DropUnmapped(space, slice);
                    position = slice.DumpTimeEnd;
                    attempts = 0;
                    break;
                case Errno gone when AddressSpace.MeansGone(gone):
                    Retire(space);
                    return;
                default:
                    FailToInstall(space, slice, errno);
                    position = slice.DumpTimeEnd;
                    attempts = 0;
                    break;
            }
        }
    }

    /// <summary>
    /// Installs the next pages still owed, holding the lock shared from the look into the ledger to the mark in it. False when none is owed any
    /// more. Without an error <paramref name="slice"/> is what is in place now, and else what was tried.
    /// </summary>
    private bool InstallSlice(
        AddressSpace space, ulong position, PageRange dumpTime, long maxPages, byte* source, Filling filling, out OwedRun slice, out Errno errno)
    {
        errno = Errno.None;
        space.Lock.EnterShared();
        try
        {
            if (space.IsGone || !space.Owed.TryNext(position, dumpTime.EndExclusive, maxPages, out slice))
            {
                slice = default;
                return false;
            }

            UffdResult result = filling switch
            {
                Filling.Bytes or Filling.StagedBytes => space.Uffd.Copy(slice.RunTime, source + (slice.DumpTime - dumpTime.Start), slice.ByteCount),
                Filling.Zeroes or Filling.StagedZeroes => space.Uffd.ZeroPage(slice.RunTime, slice.ByteCount),
                _ => space.Uffd.Poison(slice.RunTime, slice.ByteCount),
            };
            long pages = result.Bytes >> PageSize.Shift;
            if (result.Errno == Errno.EEXIST)
            {
                // The first page is present. That wakes nobody, but a thread may have faulted on it just before it came.
                space.Uffd.Wake(slice.RunTime, PageSize.Bytes);
                pages = 1;
            }

            if (pages > 0)
            {
                slice = slice.Slice(0, pages);
                if (filling == Filling.Poison && result.Errno != Errno.EEXIST)
                {
                    Counters.AddLost(space.Owed.MarkInstalled(slice));
                }
                else
                {
                    MarkInstalled(space, slice, isStaged: filling is Filling.StagedBytes or Filling.StagedZeroes);
                }
            }
            else
            {
                errno = result.Errno;
            }
        }
        finally
        {
            space.Lock.ExitShared();
        }

        return true;
    }

    /// <summary>Of a forked child: the mapping was not for children (MADV_DONTFORK), so it can miss nothing there.</summary>
    private void DropUnmapped(AddressSpace space, OwedRun page)
    {
        space.Lock.EnterShared();
        try
        {
            // Unless it was moved since, to where it can be missed.
            if (!space.IsGone && space.Owed.TryNext(page.DumpTime, page.DumpTimeEnd, 1, out OwedRun now) && now.RunTime == page.RunTime)
            {
                Counters.AddDropped(space.Owed.MarkInstalled(now));
            }
        }
        finally
        {
            space.Lock.ExitShared();
        }
    }

    private void MarkInstalled(AddressSpace space, OwedRun slice, bool isStaged)
    {
        // Those that were asked for one by one: another installer may have been first with any of them.
        long byDemand = 0;
        long end = slice.Index + slice.PageCount;
        PageBitmap requested = space.Process.Requested;
        for (long index = requested.FirstSet(slice.Index, end); index < end; index = requested.FirstSet(index + 1, end))
        {
            byDemand += space.Owed.MarkInstalled(slice.Slice(index - slice.Index, 1));
            _pendingFaults.Installed(space.Process, index);
        }

        long others = space.Owed.MarkInstalled(slice);
        _filled?.Installed(space, slice);
        if (isStaged)
        {
            Counters.AddInstalledStaged(byDemand + others);
            return;
        }

        Counters.AddInstalled(byDemand, others);
    }

    private void FailToInstall(AddressSpace space, OwedRun page, Errno errno)
    {
        if (!space.IsFailing)
        {
            space.IsFailing = true;
            LinuxException exception = new($"page {page.DumpTime:x} of process {space.Process.Pid}, now at {page.RunTime:x}: userfaultfd", errno);
            FaultsLog.CannotInstall(_logger, exception, space.Process.Pid, page.DumpTime, page.RunTime);
            Fail(exception);
        }
    }

    /// <summary>Lets the fault thread read the event and whoever caused it go on; both take microseconds unless the host is busy.</summary>
    private static void Pause(int attempt)
    {
        if (attempt < YieldsBeforeSleep)
        {
            Thread.Yield();
        }
        else
        {
            Thread.Sleep(1);
        }
    }

    private void BeShortOfMemory(AddressSpace space)
    {
        _isShortOfMemory = true;
        long now = Environment.TickCount64, last = Interlocked.Read(ref _saidNoMemoryAt);
        if (now - SayNoMemoryEvery.TotalMilliseconds > last && Interlocked.CompareExchange(ref _saidNoMemoryAt, now, last) == last)
        {
            FaultsLog.NoMemory(_logger, space.Process.Pid);
        }
    }
}
