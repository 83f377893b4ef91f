using PostCopy.Faults;
using PostCopy.Memory;

namespace PostCopy.Staging;

/// <summary>
/// A session's pages from before the freeze, by process and address: compact, in memory of this process, within the agent's limit. Behind the freeze the source
/// says which are valid; what it does not name is dropped.
/// </summary>
/// <remarks>
/// One thread fills it, until <see cref="Complete"/>. Then it only shrinks: one thread installs and frees, the fault thread borrows.
/// </remarks>
internal sealed unsafe class StagedMemory(StagingBudget budget) : IStagedPages, IDisposable
{
    private readonly Dictionary<ImagePid, Dictionary<ulong, StagedRegion>> _regions = [];
    private readonly StagedSlabs _slabs = new(budget);
    private long _indexBytes;
    private bool _isComplete;

    /// <summary>Keeps one page; the bytes of a page that was here before are replaced. Null bytes: a zero page. False when there is no room.</summary>
    internal bool TryPut(ImagePid pid, ulong address, ReadOnlySpan<byte> bytes)
    {
        ObjectDisposedException.ThrowIf(_isComplete, this);
        if (!_regions.TryGetValue(pid, out Dictionary<ulong, StagedRegion>? regions))
        {
            _regions.Add(pid, regions = []);
        }

        ulong number = StagedRegion.NumberOf(address);
        if (!regions.TryGetValue(number, out StagedRegion? region))
        {
            // Zero pages take nothing else: a source must not fill this host with indexes of them.
            if (!budget.TryReserve(StagedRegion.IndexBytes))
            {
                return false;
            }

            _indexBytes += StagedRegion.IndexBytes;
            regions.Add(number, region = new StagedRegion(number));
        }

        ref int slot = ref region[StagedRegion.PageOf(address)];
        if (bytes.IsEmpty)
        {
            if (slot > 0)
            {
                _slabs.Return(slot);
            }

            slot = StagedRegion.Zero;
            return true;
        }

        if (slot <= 0 && (slot = _slabs.Take()) == StagedRegion.None)
        {
            return false;
        }

        bytes.CopyTo(new Span<byte>(_slabs[slot], PageSize.Bytes));
        return true;
    }

    /// <summary>These pages are what they were; those of them that are here may be put in place.</summary>
    internal void MarkValid(ImagePid pid, PageRange range)
    {
        if (!_regions.TryGetValue(pid, out Dictionary<ulong, StagedRegion>? regions))
        {
            return;
        }

        ulong first = StagedRegion.NumberOf(range.Start), last = StagedRegion.NumberOf(range.EndExclusive - 1);
        // Most ranges are within few regions; one that is not may be as wide as the address space, and hold no more than there are.
        IEnumerable<StagedRegion> touched = last - first < (ulong)regions.Count
            ? RegionsOf(regions, first, last)
            : regions.Where(entry => entry.Key >= first && entry.Key <= last).Select(static entry => entry.Value);
        foreach (StagedRegion region in touched)
        {
            PageRange part = range.Intersect(new PageRange(region.AddressOf(0), StagedRegion.Pages));
            for (int page = StagedRegion.PageOf(part.Start), end = page + (int)part.PageCount; page < end; page++)
            {
                if (region[page] != StagedRegion.None)
                {
                    region.MarkValid(page);
                }
            }
        }
    }

    /// <summary>Everything was said: drops what is not valid. From here on it can be used.</summary>
    internal void Complete()
    {
        _slabs.Seal();
        foreach (Dictionary<ulong, StagedRegion> regions in _regions.Values)
        {
            foreach ((ulong number, StagedRegion region) in regions)
            {
                for (int page = 0; page < StagedRegion.Pages; page++)
                {
                    if (!region.IsValid(page) && region[page] > 0)
                    {
                        _slabs.Release(region[page], 1);
                    }
                }

                if (region.ValidPages == 0)
                {
                    regions.Remove(number);
                }
            }
        }

        _isComplete = true;
    }

    /// <summary>The regions with valid pages, in the order of addresses.</summary>
    internal IEnumerable<KeyValuePair<ImagePid, StagedRegion>> Regions() =>
        from process in _regions
        from region in process.Value
        where region.Value.ValidPages > 0
        orderby process.Key, region.Key
        select KeyValuePair.Create(process.Key, region.Value);

    /// <summary>Valid pages from one on, as long as they lie one after the other: their number, 0 when there is none. Only for whoever frees, or holds the region.</summary>
    internal int RunOf(StagedRegion region, int page, int maxPages, out byte* bytes)
    {
        int slot = region.IsValid(page) ? region[page] : StagedRegion.None;
        bytes = slot > 0 ? _slabs[slot] : null;
        if (slot == StagedRegion.None)
        {
            return 0;
        }

        int count = 1;
        int end = Math.Min(StagedRegion.Pages, page + maxPages);
        while (page + count < end && region.IsValid(page + count) && Follows(slot, count, region[page + count]))
        {
            count++;
        }

        return count;
    }

    /// <summary>All pages of a region are in place: their memory is not needed any more.</summary>
    internal void Free(StagedRegion region)
    {
        lock (region)
        {
            region.IsFreed = true;
            for (int page = 0; page < StagedRegion.Pages;)
            {
                int count = RunOf(region, page, StagedRegion.Pages, out byte* bytes);
                if (bytes is not null)
                {
                    _slabs.Release(region[page], count);
                }

                page += Math.Max(count, 1);
            }
        }
    }

    /// <inheritdoc/>
    public bool TryBorrow(ImagePid pid, ulong dumpTime, int maxPages, out BorrowedPages pages)
    {
        if (_regions.TryGetValue(pid, out Dictionary<ulong, StagedRegion>? regions) && regions.TryGetValue(StagedRegion.NumberOf(dumpTime), out StagedRegion? region))
        {
            Monitor.Enter(region);
            byte* bytes = null;
            int count = region.IsFreed ? 0 : RunOf(region, StagedRegion.PageOf(dumpTime), maxPages, out bytes);
            if (count > 0)
            {
                pages = new BorrowedPages(region, bytes, count);
                return true;
            }

            Monitor.Exit(region);
        }

        pages = default;
        return false;
    }

    /// <inheritdoc/>
    public void Return(in BorrowedPages pages) => Monitor.Exit(pages.Owner);

    /// <summary>Frees everything. Whoever filled or used it has stopped.</summary>
    public void Dispose()
    {
        _slabs.Dispose();
        budget.Release(_indexBytes);
        _indexBytes = 0;
    }

    private static IEnumerable<StagedRegion> RegionsOf(Dictionary<ulong, StagedRegion> regions, ulong first, ulong last)
    {
        for (ulong number = first; number <= last; number++)
        {
            if (regions.TryGetValue(number, out StagedRegion? region))
            {
                yield return region;
            }
        }
    }

    /// <summary>Whether a page lies right behind others that begin at a slot; zero pages follow each other.</summary>
    private static bool Follows(int firstSlot, int count, int slot) =>
        firstSlot == StagedRegion.Zero ? slot == StagedRegion.Zero : StagedSlabs.Follows(firstSlot, count, slot);
}
