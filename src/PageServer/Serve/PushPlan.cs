using PostCopy.Memory;

namespace PostCopy.Serve;

/// <summary>
/// The one place where the push lane and the demand lane meet: what is still unsent, and what to push next. Every page leaves at most once,
/// except a page that is demanded while its push is still under way: that one is answered again at once.
/// </summary>
/// <remarks>Thread-safe. The lock is held for a few dozen instructions, never across a system call.</remarks>
internal sealed class PushPlan(UnsentPages unsent, IPrefetchPolicy policy)
{
    private readonly Lock _lock = new();
    private ulong _requests;
    private ulong _demanded;
    private ulong _resent;
    private HottestFirst? _first;

    /// <summary>Pages owed at the start.</summary>
    internal ulong TotalPages => unsent.Total;

    /// <summary>Requests of the demand lane so far.</summary>
    internal ulong Requests => Volatile.Read(ref _requests);

    /// <summary>Pages not sent yet, pages sent on demand, and pages demanded after they had been pushed already.</summary>
    internal (ulong Remaining, ulong Demanded, ulong Resent) Counters
    {
        get
        {
            lock (_lock)
            {
                return (unsent.Remaining, _demanded, _resent);
            }
        }
    }

    /// <summary>Takes the next run to push and counts it as sent.</summary>
    internal bool TryTake(int maxPages, out ImagePid pid, out PageRange run)
    {
        lock (_lock)
        {
            int space = 0;
            run = default;
            if (_first?.TryNext(unsent, maxPages, out space, out run) != true && !policy.TryNext(unsent, maxPages, out space, out run))
            {
                pid = default;
                return false;
            }

            unsent.MarkSent(space, run);
            pid = unsent.PidOf(space);
            return true;
        }
    }

    /// <summary>These pages are with the destination already: they are not pushed. Asked for, they are answered all the same.</summary>
    internal void MarkStaged(ImagePid pid, PageRange range)
    {
        lock (_lock)
        {
            if (unsent.TryGetSpace(pid, out int space) && unsent.Owes(space, range))
            {
                unsent.MarkSent(space, range);
            }
        }
    }

    /// <summary>Pushes these runs, in their order, before the policy has its say.</summary>
    internal void PushFirst(IReadOnlyList<KeyValuePair<ImagePid, PageRange>> runs)
    {
        lock (_lock)
        {
            _first = new HottestFirst(runs);
        }
    }

    /// <summary>Of each owed range the first page, sent or not.</summary>
    internal IEnumerable<KeyValuePair<ImagePid, PageRange>> FirstPages => unsent.FirstPages;

    /// <summary>These pages were counted as sent, and were not.</summary>
    internal void Unsend(ImagePid pid, PageRange range)
    {
        lock (_lock)
        {
            if (unsent.TryGetSpace(pid, out int space) && unsent.Owes(space, range))
            {
                unsent.MarkUnsent(space, range);
            }
        }
    }

    /// <summary>Counts demanded pages as sent. False when the source never owed them: the peer asks for what is none of its business.</summary>
    internal bool TryDemand(ImagePid pid, PageRange range)
    {
        lock (_lock)
        {
            if (!unsent.TryGetSpace(pid, out int space) || !unsent.Owes(space, range))
            {
                return false;
            }

            ulong fresh = unsent.MarkSent(space, range);
            _requests++;
            _demanded += fresh;
            _resent += range.PageCount - fresh;
            policy.OnFault(space, range.Start);
            return true;
        }
    }
}
