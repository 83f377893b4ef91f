using PostCopy.Memory;

namespace PostCopy.Faults;

/// <summary>
/// The pages one process was owed when it was dumped, numbered from zero in address order. The number is a page's name in every bitmap of that
/// process and of its forked children, wherever mremap takes the page.
/// </summary>
internal sealed class DumpLayout
{
    private readonly PageRange[] _ranges;
    private readonly long[] _firstIndex;

    /// <param name="ranges">Sorted, page aligned, not overlapping, best not crossing a mapping's border.</param>
    public DumpLayout(IReadOnlyList<PageRange> ranges)
    {
        _ranges = [.. ranges];
        _firstIndex = new long[_ranges.Length];
        ulong end = 0;
        for (int i = 0; i < _ranges.Length; i++)
        {
            PageRange range = _ranges[i];
            if (!PageSize.IsAligned(range.Start) || range.Start < end || range.PageCount > (ulong.MaxValue - range.Start) >> PageSize.Shift)
            {
                throw new ArgumentException($"owed range {i} at {range.Start:x} with {range.PageCount} pages is unaligned, out of order or too long", nameof(ranges));
            }

            end = range.EndExclusive;
            _firstIndex[i] = PageCount;
            PageCount += (long)range.PageCount;
        }
    }

    /// <summary>Pages in all ranges.</summary>
    public long PageCount { get; }

    public int RangeCount => _ranges.Length;

    public PageRange Range(int i) => _ranges[i];

    /// <summary>The number of the first page of range <paramref name="i"/>.</summary>
    public long FirstIndex(int i) => _firstIndex[i];

    /// <summary>The dump-time ranges of the pages whose bits are set.</summary>
    public List<PageRange> RangesOf(PageBitmap pages)
    {
        List<PageRange> found = [];
        for (int i = 0; i < _ranges.Length; i++)
        {
            long first = _firstIndex[i];
            long end = first + (long)_ranges[i].PageCount;
            for (long start = pages.FirstSet(first, end); start < end;)
            {
                long stop = pages.FirstClear(start, end);
                found.Add(new PageRange(_ranges[i].Start + PageSize.ToBytes((ulong)(start - first)), (ulong)(stop - start)));
                start = pages.FirstSet(stop, end);
            }
        }

        return found;
    }
}
