using System.Numerics;

namespace PostCopy.Faults;

/// <summary>One bit per page. Setting and clearing are atomic, word by word; counts come from the bits that really changed.</summary>
internal sealed class PageBitmap
{
    private const int WordShift = 6;
    private readonly ulong[] _words;

    public PageBitmap(long pageCount) => _words = new ulong[(pageCount + 63) >> WordShift];

    private PageBitmap(ulong[] words) => _words = words;

    public PageBitmap Clone() => new((ulong[])_words.Clone());

    public bool this[long index] => (Volatile.Read(ref _words[index >> WordShift]) >> (int)(index & 63) & 1) != 0;

    /// <summary>Sets one bit; false when it was set.</summary>
    public bool TrySet(long index)
    {
        ulong bit = 1UL << (int)(index & 63);
        return (Interlocked.Or(ref _words[index >> WordShift], bit) & bit) == 0;
    }

    public void SetRange(long first, long count)
    {
        for (long index = first, end = first + count; index < end; index = NextWord(index))
        {
            Interlocked.Or(ref _words[index >> WordShift], MaskFrom(index, end));
        }
    }

    /// <summary>Clears a run of bits; returns how many of them were set.</summary>
    public long ClearRange(long first, long count)
    {
        long cleared = 0;
        for (long index = first, end = first + count; index < end; index = NextWord(index))
        {
            ulong mask = MaskFrom(index, end);
            cleared += BitOperations.PopCount(Interlocked.And(ref _words[index >> WordShift], ~mask) & mask);
        }

        return cleared;
    }

    /// <summary>The first set bit in [<paramref name="from"/>, <paramref name="end"/>), or <paramref name="end"/>.</summary>
    public long FirstSet(long from, long end) => First(from, end, flip: 0);

    /// <summary>The first clear bit in [<paramref name="from"/>, <paramref name="end"/>), or <paramref name="end"/>.</summary>
    public long FirstClear(long from, long end) => First(from, end, flip: ulong.MaxValue);

    /// <summary>Adds every bit of <paramref name="other"/>, a bitmap of the same size.</summary>
    public void Or(PageBitmap other)
    {
        for (int word = 0; word < _words.Length; word++)
        {
            _words[word] |= Volatile.Read(ref other._words[word]);
        }
    }

    /// <summary>Keeps only bits that <paramref name="other"/>, a bitmap of the same size, has too.</summary>
    public void And(PageBitmap other)
    {
        for (int word = 0; word < _words.Length; word++)
        {
            _words[word] &= Volatile.Read(ref other._words[word]);
        }
    }

    private long First(long from, long end, ulong flip)
    {
        for (long index = from; index < end; index = NextWord(index))
        {
            ulong found = (Volatile.Read(ref _words[index >> WordShift]) ^ flip) & MaskFrom(index, end);
            if (found != 0)
            {
                return (index & ~63L) + BitOperations.TrailingZeroCount(found);
            }
        }

        return end;
    }

    private static long NextWord(long index) => (index | 63) + 1;

    /// <summary>The bits of index's word from index on, up to end.</summary>
    private static ulong MaskFrom(long index, long end)
    {
        ulong mask = ulong.MaxValue << (int)(index & 63);
        return end >= NextWord(index) ? mask : mask & (ulong.MaxValue >> (int)(64 - (end & 63)));
    }
}
