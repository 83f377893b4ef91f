using System.Numerics;
using PostCopy.Memory;

namespace PostCopy.Serve;

/// <summary>
/// Which of the pages the source owes have not been sent yet: one bit a page, over the sorted ranges of each address space.
/// </summary>
/// <remarks>Not thread-safe; <see cref="PushPlan"/> holds the lock.</remarks>
internal sealed class UnsentPages
{
    private readonly Space[] _spaces;
    private readonly Dictionary<ImagePid, int> _index = [];

    /// <param name="owed">For every address space its owed ranges: sorted by address, not overlapping, none across a VMA border.</param>
    internal UnsentPages(IReadOnlyList<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> owed)
    {
        _spaces = new Space[owed.Count];
        for (int i = 0; i < owed.Count; i++)
        {
            _spaces[i] = new Space(owed[i].Key, owed[i].Value);
            _index.Add(owed[i].Key, i);
            Total += _spaces[i].PageCount;
        }

        Remaining = Total;
    }

    /// <summary>
    /// As if all pages but these had been sent: what a destination says after a reconnection. False when one of them was never owed.
    /// </summary>
    internal bool TryRestrictTo(IEnumerable<KeyValuePair<ImagePid, PageRange>> stillOwed)
    {
        foreach (Space space in _spaces)
        {
            space.ClearAll();
        }

        Remaining = 0;
        foreach ((ImagePid pid, PageRange range) in stillOwed)
        {
            if (!TryGetSpace(pid, out int space) || !Owes(space, range))
            {
                return false;
            }

            Remaining += _spaces[space].Set(range);
        }

        return true;
    }

    /// <summary>Pages owed at the start.</summary>
    internal ulong Total { get; }

    /// <summary>Pages not sent yet.</summary>
    internal ulong Remaining { get; private set; }

    /// <summary>Number of address spaces.</summary>
    internal int SpaceCount => _spaces.Length;

    /// <summary>The process behind a space's index.</summary>
    internal ImagePid PidOf(int space) => _spaces[space].Pid;

    /// <summary>The index of a process's space; false when the source owes it nothing.</summary>
    internal bool TryGetSpace(ImagePid pid, out int space) => _index.TryGetValue(pid, out space);

    /// <summary>True when every page of <paramref name="range"/> was owed by <paramref name="space"/>, sent or not.</summary>
    internal bool Owes(int space, PageRange range)
    {
        Space owner = _spaces[space];
        int holder = owner.Find(range.Start);
        return holder >= 0 && owner.Ranges[holder].Intersect(range) == range;
    }

    /// <summary>
    /// The first run of unsent pages at or behind <paramref name="from"/>, at most <paramref name="maxPages"/> long and within one owed range.
    /// </summary>
    internal bool TryFindRun(int space, ulong from, int maxPages, out PageRange run) => _spaces[space].TryFindRun(from, maxPages, out run);

    /// <summary>Marks pages as sent and returns how many of them were not before.</summary>
    internal ulong MarkSent(int space, PageRange range)
    {
        ulong marked = _spaces[space].Clear(range);
        Remaining -= marked;
        return marked;
    }

    /// <summary>The opposite.</summary>
    internal void MarkUnsent(int space, PageRange range) => Remaining += _spaces[space].Set(range);

    /// <summary>Of each owed range the first page, sent or not. From any thread.</summary>
    internal IEnumerable<KeyValuePair<ImagePid, PageRange>> FirstPages =>
        _spaces.SelectMany(static space => space.Ranges.Select(range => KeyValuePair.Create(space.Pid, range with { PageCount = 1 })));

    private sealed class Space
    {
        private readonly ulong[] _firstBit;
        private readonly ulong[] _unsent;

        internal Space(ImagePid pid, IReadOnlyList<PageRange> ranges)
        {
            Pid = pid;
            Ranges = [.. ranges];
            _firstBit = new ulong[Ranges.Length];
            for (int i = 0; i < Ranges.Length; i++)
            {
                _firstBit[i] = PageCount;
                PageCount += Ranges[i].PageCount;
            }

            _unsent = new ulong[(PageCount + 63) / 64];
            Array.Fill(_unsent, ulong.MaxValue);
            if (PageCount % 64 != 0)
            {
                _unsent[^1] = (1UL << (int)(PageCount % 64)) - 1;
            }
        }

        internal ImagePid Pid { get; }

        internal PageRange[] Ranges { get; }

        internal ulong PageCount { get; }

        /// <summary>Index of the range that holds the address, else the complement of the next range's index.</summary>
        internal int Find(ulong address)
        {
            int low = 0;
            int high = Ranges.Length - 1;
            while (low <= high)
            {
                int middle = (low + high) >>> 1;
                if (address < Ranges[middle].Start)
                {
                    high = middle - 1;
                }
                else if (address >= Ranges[middle].EndExclusive)
                {
                    low = middle + 1;
                }
                else
                {
                    return middle;
                }
            }

            return ~low;
        }

        internal bool TryFindRun(ulong from, int maxPages, out PageRange run)
        {
            int e = Find(from);
            ulong bit = e >= 0 ? BitOf(e, from) : ~e < Ranges.Length ? _firstBit[~e] : PageCount;
            bit = NextSet(bit);
            if (bit >= PageCount)
            {
                run = default;
                return false;
            }

            e = RangeOfBit(bit);
            ulong endOfRange = _firstBit[e] + Ranges[e].PageCount;
            ulong end = Math.Min(NextClear(bit), Math.Min(endOfRange, bit + (ulong)maxPages));
            run = new PageRange(Ranges[e].Start + ((bit - _firstBit[e]) << PageSize.Shift), end - bit);
            return true;
        }

        internal void ClearAll() => Array.Clear(_unsent);

        /// <summary>Clears a range's bits; returns how many were set.</summary>
        internal ulong Clear(PageRange range) => Change(range, 0);

        /// <summary>Sets a range's bits; returns how many were not.</summary>
        internal ulong Set(PageRange range) => Change(range, ulong.MaxValue);

        private ulong Change(PageRange range, ulong to)
        {
            int e = Find(range.Start);
            ArgumentOutOfRangeException.ThrowIfNegative(e);
            ulong bit = BitOf(e, range.Start);
            ulong end = bit + range.PageCount;
            ulong changed = 0;
            while (bit < end)
            {
                int offset = (int)(bit % 64);
                ulong count = Math.Min(end - bit, 64UL - (ulong)offset);
                ulong mask = (count == 64 ? ulong.MaxValue : (1UL << (int)count) - 1) << offset;
                ref ulong word = ref _unsent[bit / 64];
                changed += (ulong)BitOperations.PopCount((word ^ to) & mask);
                word = (word & ~mask) | (to & mask);
                bit += count;
            }

            return changed;
        }

        private ulong BitOf(int e, ulong address) => _firstBit[e] + ((address - Ranges[e].Start) >> PageSize.Shift);

        private int RangeOfBit(ulong bit)
        {
            int e = Array.BinarySearch(_firstBit, bit);
            return e >= 0 ? e : ~e - 1;
        }

        private ulong NextSet(ulong bit) => Next(bit, 0);

        private ulong NextClear(ulong bit) => Next(bit, ulong.MaxValue);

        private ulong Next(ulong bit, ulong flip)
        {
            if (bit >= PageCount)
            {
                return PageCount;
            }

            ulong index = bit / 64;
            ulong word = (_unsent[index] ^ flip) & (ulong.MaxValue << (int)(bit % 64));
            while (word == 0)
            {
                if (++index == (ulong)_unsent.Length)
                {
                    return PageCount;
                }

                word = _unsent[index] ^ flip;
            }

            return Math.Min(PageCount, (index * 64) + (ulong)BitOperations.TrailingZeroCount(word));
        }
    }
}
