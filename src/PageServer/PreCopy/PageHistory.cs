using PostCopy.Memory;

namespace PostCopy.PreCopy;

/// <summary>
/// For each page of the tree: in how many rounds it was written, in how many without a pause, in which last, and whether the destination has it as it is. Pure; some
/// 3.5 bytes a page.
/// </summary>
internal sealed class PageHistory
{
    /// <summary>A page that was found written in so many rounds, one after the other, is hot: it is not copied until a round finds it unwritten.</summary>
    internal const int HotRounds = 3;

    private readonly SortedDictionary<ImagePid, SortedDictionary<ulong, Region>> _spaces = [];

    /// <summary>Pages that are written in round after round.</summary>
    internal ulong HotPages { get; private set; }

    /// <summary>What was known of a process, or of a range of it, is void.</summary>
    internal void Forget(ImagePid pid, PageRange? range)
    {
        if (range is not { } some)
        {
            _spaces.Remove(pid);
        }
        else if (_spaces.TryGetValue(pid, out SortedDictionary<ulong, Region>? regions))
        {
            foreach ((Region region, int first, int count) in Parts(regions, some, create: false))
            {
                region.Staged.Change(first, count, to: false);
                region.EverStaged.Change(first, count, to: false);
                region.WrittenNow.Change(first, count, to: false);
                Array.Clear(region.Written, first, count);
                Array.Clear(region.InSequence, first, count);
                Array.Clear(region.LastRound, first, count);
            }
        }
    }

    /// <summary>Pages that a round found written; in the first round all that there are.</summary>
    internal void Written(ImagePid pid, PageRange range, int round)
    {
        if (!_spaces.TryGetValue(pid, out SortedDictionary<ulong, Region>? regions))
        {
            _spaces.Add(pid, regions = []);
        }

        foreach ((Region region, int first, int count) in Parts(regions, range, create: true))
        {
            region.Staged.Change(first, count, to: false);
            region.WrittenNow.Change(first, count, to: true);
            for (int page = first; page < first + count; page++)
            {
                region.Written[page] = (byte)Math.Min(region.Written[page] + 1, byte.MaxValue);
                region.LastRound[page] = (byte)Math.Min(round, byte.MaxValue);
            }
        }
    }

    /// <summary>Once a round, when all that it found written was said: what it is to copy. That, and what was left out for being hot and is not any more.</summary>
    internal List<KeyValuePair<ImagePid, PageRange>> ToCopy()
    {
        List<KeyValuePair<ImagePid, PageRange>> runs = [];
        HotPages = 0;
        foreach ((ImagePid pid, SortedDictionary<ulong, Region> regions) in _spaces)
        {
            foreach ((ulong number, Region region) in regions)
            {
                for (int page = 0; page < Region.Pages; page++)
                {
                    region.InSequence[page] = (byte)(region.WrittenNow[page] ? Math.Min(region.InSequence[page] + 1, HotRounds) : 0);
                    if (region.Written[page] == 0 || region.Staged[page])
                    {
                        continue;
                    }

                    if (region.InSequence[page] == HotRounds)
                    {
                        HotPages++;
                    }
                    else
                    {
                        Append(runs, pid, Region.AddressOf(number, page));
                    }
                }

                region.WrittenNow.Change(0, Region.Pages, to: false);
            }
        }

        return runs;
    }

    /// <summary>The destination has these pages as the last look found them.</summary>
    internal void Staged(ImagePid pid, PageRange range)
    {
        if (_spaces.TryGetValue(pid, out SortedDictionary<ulong, Region>? regions))
        {
            foreach ((Region region, int first, int count) in Parts(regions, range, create: false))
            {
                region.Staged.Change(first, count, to: true);
                region.EverStaged.Change(first, count, to: true);
            }
        }
    }

    /// <summary>The runs within a range of pages that the destination has.</summary>
    internal void StagedIn(ImagePid pid, PageRange range, List<PageRange> found)
    {
        if (_spaces.TryGetValue(pid, out SortedDictionary<ulong, Region>? regions))
        {
            foreach ((Region region, int first, int count) in Parts(regions, range, create: false))
            {
                for (int page = first; page < first + count; page++)
                {
                    if (region.Staged[page])
                    {
                        ulong address = Region.AddressOf(region.Number, page);
                        if (found.Count > 0 && found[^1].EndExclusive == address && address != range.Start)
                        {
                            found[^1] = found[^1] with { PageCount = found[^1].PageCount + 1 };
                        }
                        else
                        {
                            found.Add(new PageRange(address, 1));
                        }
                    }
                }
            }
        }
    }

    /// <summary>Pages within a range that were copied at some time.</summary>
    internal ulong EverStagedIn(ImagePid pid, PageRange range)
    {
        ulong pages = 0;
        if (_spaces.TryGetValue(pid, out SortedDictionary<ulong, Region>? regions))
        {
            foreach ((Region region, int first, int count) in Parts(regions, range, create: false))
            {
                for (int page = first; page < first + count; page++)
                {
                    pages += region.EverStaged[page] ? 1UL : 0;
                }
            }
        }

        return pages;
    }

    /// <summary>
    /// How likely a page is to be needed soon: what was written late comes before what was written early, and of that what was written often. 0 for a page
    /// that was never seen written after its first copy.
    /// </summary>
    internal int HeatOf(ImagePid pid, ulong address)
    {
        if (!_spaces.TryGetValue(pid, out SortedDictionary<ulong, Region>? regions) || !regions.TryGetValue(Region.NumberOf(address), out Region? region))
        {
            return 0;
        }

        int page = Region.PageOf(address);
        return region.Written[page] <= 1 ? 0 : (region.LastRound[page] << 8) | region.Written[page];
    }

    private static void Append(List<KeyValuePair<ImagePid, PageRange>> runs, ImagePid pid, ulong address)
    {
        if (runs.Count > 0 && runs[^1].Key == pid && runs[^1].Value.EndExclusive == address)
        {
            runs[^1] = new(pid, runs[^1].Value with { PageCount = runs[^1].Value.PageCount + 1 });
        }
        else
        {
            runs.Add(new(pid, new PageRange(address, 1)));
        }
    }

    private static IEnumerable<(Region Region, int First, int Count)> Parts(SortedDictionary<ulong, Region> regions, PageRange range, bool create)
    {
        for (ulong address = range.Start; address < range.EndExclusive;)
        {
            ulong number = Region.NumberOf(address);
            int first = Region.PageOf(address);
            int count = (int)Math.Min((ulong)(Region.Pages - first), (range.EndExclusive - address) >> PageSize.Shift);
            if (!regions.TryGetValue(number, out Region? region) && create)
            {
                regions.Add(number, region = new Region(number));
            }

            if (region is not null)
            {
                yield return (region, first, count);
            }

            address += PageSize.ToBytes((ulong)count);
        }
    }

    /// <summary>512 pages, 2 MiB.</summary>
    private sealed class Region(ulong number)
    {
        internal const int Pages = 512;
        private const int PagesShift = 9;

        internal ulong Number => number;

        internal byte[] Written { get; } = new byte[Pages];

        internal byte[] InSequence { get; } = new byte[Pages];

        internal byte[] LastRound { get; } = new byte[Pages];

        internal Bits WrittenNow { get; } = new();

        internal Bits Staged { get; } = new();

        internal Bits EverStaged { get; } = new();

        internal static ulong NumberOf(ulong address) => address >> (PageSize.Shift + PagesShift);

        internal static int PageOf(ulong address) => (int)((address >> PageSize.Shift) & (Pages - 1));

        internal static ulong AddressOf(ulong number, int page) => ((number << PagesShift) | (uint)page) << PageSize.Shift;
    }

    private sealed class Bits
    {
        private readonly ulong[] _words = new ulong[Region.Pages / 64];

        internal bool this[int page] => (_words[page >> 6] >> (page & 63) & 1) != 0;

        internal void Change(int first, int count, bool to)
        {
            for (int page = first; page < first + count; page++)
            {
                ulong bit = 1UL << (page & 63);
                _words[page >> 6] = to ? _words[page >> 6] | bit : _words[page >> 6] & ~bit;
            }
        }
    }
}
