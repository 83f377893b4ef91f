using PostCopy.Memory;

namespace PostCopy.CriuServe;

/// <summary>Which pages a client may ask for: for each process its ranges, in ascending order. Immutable, and so thread-safe.</summary>
internal sealed class ListedPages
{
    private readonly Dictionary<ImagePid, PageRange[]> _ranges = [];

    internal ListedPages(IReadOnlyList<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> ranges)
    {
        Ranges = ranges;
        foreach ((ImagePid pid, IReadOnlyList<PageRange> own) in ranges)
        {
            _ranges.Add(pid, [.. own]);
        }
    }

    internal IReadOnlyList<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> Ranges { get; }

    internal ulong TotalPages => Ranges.SelectMany(static process => process.Value).Aggregate(0UL, static (sum, range) => sum + range.PageCount);

    internal bool Contains(ImagePid pid, ulong address) => PagesFrom(pid, address) > 0;

    /// <summary>The pages listed without a gap from this page's address on; 0 when it is not listed, or no page's address.</summary>
    internal ulong PagesFrom(ImagePid pid, ulong address)
    {
        if (!PageSize.IsAligned(address) || !_ranges.TryGetValue(pid, out PageRange[]? ranges))
        {
            return 0;
        }

        int low = 0, high = ranges.Length;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (ranges[middle].EndExclusive <= address)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low < ranges.Length && ranges[low].Contains(address) ? (ranges[low].EndExclusive - address) >> PageSize.Shift : 0;
    }
}
