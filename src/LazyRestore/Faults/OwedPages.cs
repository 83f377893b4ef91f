using PostCopy.Memory;

namespace PostCopy.Faults;

/// <summary>
/// The ledger of one address space: which pages it is still owed, where they are now and where the dump had them. Pure: it knows no kernel.
/// </summary>
/// <remarks>
/// <para>
/// Runs of pages say where things are, a bitmap over the dump's page numbers says what is still owed. Dropping and installing only clear bits;
/// mremap alone replaces the runs, which are immutable arrays, so that a fork shares them. A run without a set bit means nothing and may linger.
/// </para>
/// <para>
/// <see cref="MarkInstalled"/> and all lookups may run concurrently. <see cref="Remove"/>, <see cref="Unmap"/>, <see cref="Move"/>,
/// <see cref="Clone"/> and <see cref="DropAll"/> need the ledger for themselves. Lookups and marks allocate nothing.
/// </para>
/// <para>Addresses that come from kernel events are rounded outwards and never throw, whatever they are.</para>
/// </remarks>
internal sealed partial class OwedPages
{
    private readonly DumpLayout _layout;
    private readonly PageBitmap _owed;

    /// <summary>
    /// Which of the dump's pages are still mapped, owed or not. Null for a forked child: it lacks mappings that are not for children (MADV_DONTFORK), and no
    /// event says which.
    /// </summary>
    private readonly PageBitmap? _mapped;
    private OwedRun[] _byRunTime;
    private OwedRun[] _byDumpTime;
    private long _remaining;

    public OwedPages(DumpLayout layout)
    {
        _layout = layout;
        _owed = new PageBitmap(layout.PageCount);
        _owed.SetRange(0, layout.PageCount);
        _mapped = _owed.Clone();
        _remaining = layout.PageCount;
        _byRunTime = new OwedRun[layout.RangeCount];
        for (int i = 0; i < _byRunTime.Length; i++)
        {
            PageRange range = layout.Range(i);
            _byRunTime[i] = new OwedRun(range.Start, range.Start, layout.FirstIndex(i), (long)range.PageCount);
        }

        _byDumpTime = _byRunTime;
    }

    private OwedPages(OwedPages parent)
    {
        _layout = parent._layout;
        _owed = parent._owed.Clone();
        _byRunTime = parent._byRunTime;
        _byDumpTime = parent._byDumpTime;
        _remaining = parent.Remaining;
    }

    /// <summary>Pages still owed.</summary>
    public long Remaining => Interlocked.Read(ref _remaining);

    /// <summary>The ledger of a forked child: it is owed what the parent is owed at this moment.</summary>
    public OwedPages Clone() => new(this);

    /// <summary>The owed page at a run-time address.</summary>
    public bool TryFind(ulong runTimeAddress, out OwedRun page)
    {
        int i = LastAtOrBelow(_byRunTime, runTimeAddress);
        if (i >= 0 && runTimeAddress < _byRunTime[i].RunTimeEnd)
        {
            page = _byRunTime[i].Slice((long)((runTimeAddress - _byRunTime[i].RunTime) >> PageSize.Shift), 1);
            return _owed[page.Index];
        }

        page = default;
        return false;
    }

    /// <summary>The first pages still owed of the dump-time range [<paramref name="from"/>, <paramref name="end"/>), at most <paramref name="maxPages"/>.</summary>
    public bool TryNext(ulong from, ulong end, long maxPages, out OwedRun run)
    {
        OwedRun[] runs = _byDumpTime;
        for (int i = Math.Max(LastDumpTimeAtOrBelow(runs, from), 0); i < runs.Length && runs[i].DumpTime < end; i++)
        {
            OwedRun candidate = runs[i];
            ulong stop = Math.Min(candidate.DumpTimeEnd, end);
            if (stop <= from)
            {
                continue;
            }

            long skip = candidate.DumpTime < from ? (long)((from - candidate.DumpTime) >> PageSize.Shift) : 0;
            long lastIndex = candidate.Index + (long)((stop - candidate.DumpTime) >> PageSize.Shift);
            for (long first = _owed.FirstSet(candidate.Index + skip, lastIndex); first < lastIndex; first = _owed.FirstSet(first, lastIndex))
            {
                long last = _owed.FirstClear(first, Math.Min(lastIndex, first + maxPages));
                if (last > first)
                {
                    run = candidate.Slice(first - candidate.Index, last - first);
                    return true;
                }

                // Another installer struck the page between the two looks.
            }
        }

        run = default;
        return false;
    }

    /// <summary>How many pages from a run-time address on are not owed, at most <paramref name="limit"/>.</summary>
    public long PagesToNextOwed(ulong runTimeAddress, long limit)
    {
        OwedRun[] runs = _byRunTime;
        ulong end = runTimeAddress + Math.Min(PageSize.ToBytes((ulong)limit), PageSize.AlignDown(ulong.MaxValue - runTimeAddress));
        for (int i = Math.Max(LastAtOrBelow(runs, runTimeAddress), 0); i < runs.Length && runs[i].RunTime < end; i++)
        {
            OwedRun part = runs[i].Within(runTimeAddress, end);
            long first = _owed.FirstSet(part.Index, part.Index + part.PageCount);
            if (first < part.Index + part.PageCount)
            {
                return (long)((part.Slice(first - part.Index, 0).RunTime - runTimeAddress) >> PageSize.Shift);
            }
        }

        return limit;
    }

    /// <summary>True when the dump owed all of a run-time range in one piece and none of it is owed any more.</summary>
    public bool IsFilled(ulong runTimeAddress, long pageCount)
    {
        int i = LastAtOrBelow(_byRunTime, runTimeAddress);
        if (i < 0 || runTimeAddress + PageSize.ToBytes((ulong)pageCount) > _byRunTime[i].RunTimeEnd)
        {
            return false;
        }

        return !IsAnyOwed(_byRunTime[i].Slice((long)((runTimeAddress - _byRunTime[i].RunTime) >> PageSize.Shift), pageCount));
    }

    /// <summary>Strikes pages that the kernel says are present. Returns how many of them were still owed.</summary>
    public long MarkInstalled(OwedRun run) => Strike(run);

    /// <summary>Strikes everything: the address space is gone. Returns how many pages were owed.</summary>
    public long DropAll() => Strike(new OwedRun(0, 0, 0, _layout.PageCount));

    /// <summary>Adds what is still owed to a bitmap over the same layout.</summary>
    public void AddTo(PageBitmap pages) => pages.Or(_owed);

    private long Strike(OwedRun run)
    {
        long struck = _owed.ClearRange(run.Index, run.PageCount);
        Interlocked.Add(ref _remaining, -struck);
        return struck;
    }

    private bool IsAnyOwed(OwedRun run) => _owed.FirstSet(run.Index, run.Index + run.PageCount) < run.Index + run.PageCount;

    /// <summary>Index of the last run that starts at or below a run-time address; -1 when none does.</summary>
    private static int LastAtOrBelow(OwedRun[] runs, ulong address)
    {
        int low = 0, high = runs.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (runs[middle].RunTime <= address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low - 1;
    }

    /// <summary>Index of the last run that starts at or below a dump-time address; -1 when none does.</summary>
    private static int LastDumpTimeAtOrBelow(OwedRun[] runs, ulong address)
    {
        int low = 0, high = runs.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (runs[middle].DumpTime <= address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low - 1;
    }
}
