using System.Diagnostics;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Userfault;

namespace PostCopy.Faults;

/// <content>The fault thread. In the steady state it allocates nothing and takes no lock but the ledger's.</content>
internal sealed partial class LazyMemory
{
    /// <summary>Messages of one read. They are applied in order under one hold of the lock, so a fork among them is no special case.</summary>
    private const int EventsPerRead = EventJournal.BatchEvents;

    private static readonly TimeSpan ReadErrorPause = TimeSpan.FromMilliseconds(10);

    /// <summary>How long events may be unreadable before that is said to be a failure: tasks wait meanwhile, and nothing is lost.</summary>
    private static readonly TimeSpan ReadErrorPatience = TimeSpan.FromSeconds(5);

    private readonly UffdEvent[] _events = new UffdEvent[EventsPerRead];

    private void ServeFaults()
    {
        if (!FaultPriority.TryRaise())
        {
            FaultsLog.NoPriority(_logger);
        }

        Span<int> ready = stackalloc int[64];
        try
        {
            while (!_closing.IsCancellationRequested)
            {
                int count = _epoll.Wait(ready);
                foreach (int id in ready[..count])
                {
                    if (_spaces.TryGetValue(id, out AddressSpace? space))
                    {
                        ServeEvents(space);
                    }
                }

                _requester.Flush();
            }

            if (_drained.Task.IsCompleted)
            {
                ServeLastEvents();
            }
        }
        catch (Exception exception)
        {
            FaultsLog.FaultThreadDied(_logger, exception);
            Fail(exception);
        }
    }

    /// <summary>Lets everybody go who waits for an event to be read. While pages are owed that is for whoever follows in the ledger, not for us.</summary>
    private void ServeLastEvents()
    {
        foreach (AddressSpace space in _spaces.Values)
        {
            while (ServeEvents(space) == EventsPerRead)
            {
            }
        }
    }

    /// <summary>Reads and serves one batch of messages; returns how many there were.</summary>
    private int ServeEvents(AddressSpace space)
    {
        int count;
        Errno errno;
        long dropped = 0;
        space.Lock.EnterExclusive();
        try
        {
            if (space.IsGone)
            {
                return 0;
            }

            _journal?.BeginBatch(space.Id);
            Span<UffdEvent> events = _journal is null ? _events : _journal.Incoming;
            count = space.Uffd.ReadEvents(events, out errno);
            for (int i = 0; i < count; i++)
            {
                _events[i] = events[i];
                dropped += Apply(space, in _events[i], out int child);
                _journal?.Applied(i, child);
            }

            _journal?.EndBatch();
        }
        finally
        {
            space.Lock.ExitExclusive();
        }

        if (dropped > 0)
        {
            Counters.AddDropped(dropped);
            CompleteWhenDrained();
        }

        // Nobody else reads events, so no owed page can have come to an address since the lock was let go.
        long now = Stopwatch.GetTimestamp();
        bool around = false;
        for (int i = 0; i < count; i++)
        {
            if (_events[i].Kind == UffdEventKind.PageFault)
            {
                around |= Resolve(space, PageSize.AlignDown(_events[i].FaultAddress), now);
            }
        }

        if (around)
        {
            // Everybody who waits has been seen to, with this those as well who wait for the source.
            _requester.Flush();
            for (int i = 0; i < count; i++)
            {
                if (_events[i].Kind == UffdEventKind.PageFault)
                {
                    FillAround(space, PageSize.AlignDown(_events[i].FaultAddress));
                }
            }
        }

        if (errno != Errno.None)
        {
            ReadFailed(space, errno);
        }
        else
        {
            space.UnreadableSince = null;
            space.IsUnreadable = false;
        }

        return count;
    }

    /// <summary>Follows a change of the address space in the ledger; returns how many owed pages it made needless.</summary>
    private long Apply(AddressSpace space, in UffdEvent message, out int child)
    {
        child = 0;
        switch (message.Kind)
        {
            case UffdEventKind.PageFault:
                Counters.AddFault();
                return 0;
            case UffdEventKind.Remove:
                return space.Owed.Remove(message.Start, message.EndExclusive);
            case UffdEventKind.Unmap:
                return space.Owed.Unmap(message.Start, message.EndExclusive);
            case UffdEventKind.Remap:
                return space.Owed.Move(message.RemapFrom, message.RemapTo, message.RemapBytes);
            case UffdEventKind.Fork:
                child = Fork(space, new Userfaultfd(message.ForkedDescriptor));
                return 0;
            default:
                throw new InvalidDataException($"userfaultfd of process {space.Process.Pid} sent an unknown event {(byte)message.Kind:x}");
        }
    }

    /// <summary>
    /// A child was forked. It becomes a member before the parent's installers may go on: the kernel answers them EAGAIN from the fork to the read of
    /// its event, so every page goes to the parent either before the fork, and to the child through copy-on-write, or after this, and to both.
    /// </summary>
    private int Fork(AddressSpace parent, Userfaultfd uffd)
    {
        int id = Interlocked.Increment(ref _lastId);
        IUserfaultfdKeeper keeper = _keeper;
        Keep(keeper, parent, id, uffd);
        OwedPages owed = parent.Owed.Clone();
        Counters.AddOwed(owed.Remaining);
        Counters.AddFork();
        Serve(new AddressSpace(id, parent.Process, uffd, owed) { IsForked = true });
        if (_keeper != keeper)
        {
            // The one that came in its place may have been given all that there was before this one was among them.
            Keep(_keeper, parent, id, uffd);
        }

        FaultsLog.Forked(_logger, parent.Process.Pid, owed.Remaining);
        return id;
    }

    private void Keep(IUserfaultfdKeeper keeper, AddressSpace parent, int id, Userfaultfd uffd)
    {
        try
        {
            keeper.Keep(id, uffd);
        }
        catch (LinuxException exception)
        {
            FaultsLog.NotKept(_logger, exception, parent.Process.Pid);
        }
    }

    /// <summary>True when the page was here already.</summary>
    private bool Resolve(AddressSpace space, ulong address, long timestamp)
    {
        if (!space.Owed.TryFind(address, out OwedRun page))
        {
            FillFirstTouch(space, address);
            return false;
        }

        if (TryServeLocally(space, page))
        {
            return true;
        }

        if (!space.Process.Requested[page.Index])
        {
            // No other thread sets one of these bits; whoever sees it may look for the fault.
            _pendingFaults.Started(space.Process, page.Index, timestamp);
            space.Process.Requested.TrySet(page.Index);
            _requester.Request(space.Process.Pid, new PageRange(page.DumpTime, 1));
        }

        return false;
    }

    /// <summary>
    /// Zero pages for memory that is not owed. Every answer but success ends with a wake-up: the page may be present by now (EEXIST), the mapping
    /// gone (ENOENT), an event unread (EAGAIN) or memory short (ENOMEM); the thread faults again if it still has to.
    /// </summary>
    private void FillFirstTouch(AddressSpace space, ulong address)
    {
        Errno errno = ZeroFill(space, address);
        if (errno == Errno.ENOMEM)
        {
            BeShortOfMemory(space);
            Thread.Sleep(1);
        }
        else if (AddressSpace.MeansGone(errno))
        {
            Retire(space);
        }
    }

    /// <summary>The lock is held, shared, so that no other thread finds the task gone and closes the descriptor.</summary>
    private Errno ZeroFill(AddressSpace space, ulong address)
    {
        space.Lock.EnterShared();
        try
        {
            if (space.IsGone)
            {
                return Errno.None;
            }

            long bytes = space.Owed.PagesToNextOwed(address, space.FirstTouch.Next(address)) << PageSize.Shift;
            UffdResult result = space.Uffd.ZeroPage(address, bytes);
            if (result.Errno == Errno.ENOENT && bytes > PageSize.Bytes)
            {
                // The window reached over the end of the mapping, and then nothing is done at all.
                result = space.Uffd.ZeroPage(address, PageSize.Bytes);
            }

            if (result.Bytes > 0)
            {
                _isShortOfMemory = false;
                space.FirstTouch.Filled(address + (ulong)result.Bytes);
                Counters.AddZeroFilled(result.Bytes >> PageSize.Shift);
                return Errno.None;
            }

            space.Uffd.Wake(address, PageSize.Bytes);
            return result.Errno;
        }
        finally
        {
            space.Lock.ExitShared();
        }
    }

    /// <summary>
    /// The event stays where it is and is read again. What passes, as when there is no descriptor for a forked child just now, is no reason to give the session up.
    /// </summary>
    private void ReadFailed(AddressSpace space, Errno errno)
    {
        LinuxException exception = new($"read of the userfaultfd of process {space.Process.Pid}", errno);
        if (space.UnreadableSince is not { } since)
        {
            space.UnreadableSince = Stopwatch.GetTimestamp();
            FaultsLog.CannotReadEvents(_logger, exception, space.Process.Pid);
        }
        else if (!space.IsUnreadable && Stopwatch.GetElapsedTime(since) > ReadErrorPatience)
        {
            space.IsUnreadable = true;
            Fail(exception);
        }

        Thread.Sleep(ReadErrorPause);
    }
}
