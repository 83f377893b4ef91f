using PostCopy.Memory;
using PostCopy.Serve;

namespace PostCopy.LazyPages;

/// <summary>
/// In which order to ask for the pages. Faults come first, with their neighbours, since every page has to come anyhow; the rest follows in the order
/// CRIU's server likes. Every page is asked for once.
/// </summary>
/// <remarks>
/// <para>
/// CRIU's dump keeps the pages of each pagemap entry in one pipe and walks from its start for every request: a single page costs 50 to 100 us, a
/// whole entry moves at memory speed. So the bulk asks for whole entries while all is quiet, and for shorter pieces while faults come, which a
/// piece under way makes wait. It goes on where the last fault was: what a task touches next is near.
/// </para>
/// <para>Pure. Not thread-safe; its owner holds a lock.</para>
/// </remarks>
internal sealed class FetchPlan
{
    /// <summary>Pages asked for with one fault, aligned: 64 KiB with 4 KiB pages costs CRIU's server hardly more than one page.</summary>
    internal const int FaultPages = 16;

    /// <summary>The bulk's piece after a fault; each one without a fault in between doubles it. 512 KiB with 4 KiB pages: some 0.3 ms.</summary>
    internal const int FirstBulkPages = 128;

    /// <summary>CRIU's pipes hold at most 1024 pages, and so do its answers.</summary>
    internal const int MaxBulkPages = 1024;

    private readonly UnsentPages _unasked;
    private readonly Queue<(int Space, ulong Address)> _faults = new();
    private readonly Queue<(ImagePid Pid, PageRange Range)> _rests = new();
    private readonly bool[] _abandoned;
    private int _space;
    private ulong _next;
    private int _bulkPages = MaxBulkPages;

    /// <param name="ranges">What is owed: each pagemap entry a range of its own, cut at the borders of mappings.</param>
    internal FetchPlan(IReadOnlyList<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> ranges)
    {
        _unasked = new UnsentPages(ranges);
        _abandoned = new bool[_unasked.SpaceCount];
    }

    /// <summary>
    /// Until CRIU has finished the restore, only pages that a task waits for can be put in place, and so only they are asked for.
    /// </summary>
    internal bool BulkAllowed { get; set; }

    /// <summary>A task waits for this page.</summary>
    internal void OnFault(ImagePid pid, ulong address)
    {
        if (_unasked.TryGetSpace(pid, out int space))
        {
            _faults.Enqueue((space, address));
        }
    }

    /// <summary>Nobody is owed pages of this process any more: they are not asked for.</summary>
    internal void Abandon(ImagePid pid)
    {
        if (_unasked.TryGetSpace(pid, out int space))
        {
            _abandoned[space] = true;
        }
    }

    /// <summary>An answer was shorter than the request: the rest is asked for again, before any bulk.</summary>
    internal void ComeBackTo(ImagePid pid, PageRange rest) => _rests.Enqueue((pid, rest));

    /// <summary>The next request that must not wait.</summary>
    internal bool TryNextUrgent(out ImagePid pid, out PageRange range)
    {
        while (_faults.TryDequeue(out (int Space, ulong Address) fault))
        {
            if (TryWindow(fault.Space, fault.Address, out range))
            {
                Take(fault.Space, range);
                pid = _unasked.PidOf(fault.Space);
                _bulkPages = FirstBulkPages;
                (_space, _next) = (fault.Space, range.EndExclusive);
                return true;
            }
        }

        if (_rests.TryDequeue(out (ImagePid Pid, PageRange Range) rest))
        {
            (pid, range) = rest;
            return true;
        }

        pid = default;
        range = default;
        return false;
    }

    /// <summary>The next request of the bulk.</summary>
    internal bool TryNextBulk(out ImagePid pid, out PageRange range)
    {
        for (int tried = 0; BulkAllowed && tried <= _unasked.SpaceCount; tried++)
        {
            if (!_abandoned[_space] && _unasked.TryFindRun(_space, _next, _bulkPages, out range))
            {
                Take(_space, range);
                pid = _unasked.PidOf(_space);
                _next = range.EndExclusive;
                _bulkPages = Math.Min(_bulkPages * 2, MaxBulkPages);
                return true;
            }

            // Once round: what lies below the place where a fault took us comes last.
            (_space, _next) = _next > 0 && !_abandoned[_space] && _unasked.TryFindRun(_space, 0, 1, out _) ? (_space, 0UL) : ((_space + 1) % _unasked.SpaceCount, 0UL);
        }

        pid = default;
        range = default;
        return false;
    }

    private bool TryWindow(int space, ulong address, out PageRange range)
    {
        ulong windowBytes = PageSize.ToBytes(FaultPages);
        ulong from = BulkAllowed ? address - (address % windowBytes) : address;
        int pages = BulkAllowed ? FaultPages : 1;
        while (_unasked.TryFindRun(space, from, pages, out range) && range.Start <= address)
        {
            if (range.EndExclusive > address)
            {
                ulong inWindow = (address - (address % windowBytes) + windowBytes - range.Start) >> PageSize.Shift;
                range = range with { PageCount = Math.Min(range.PageCount, inWindow) };
                return true;
            }

            from = range.EndExclusive;
        }

        // Asked for already, with another fault's window or in the bulk: its answer is on its way.
        range = default;
        return false;
    }

    private void Take(int space, PageRange range) => _unasked.MarkSent(space, range);
}
