using System.Globalization;

namespace PostCopy.Memory;

/// <summary>A run of whole pages in one address space: a page-aligned start address and a number of pages.</summary>
/// <param name="Start">Address of the first byte; page aligned.</param>
/// <param name="PageCount">Number of pages.</param>
internal readonly record struct PageRange(ulong Start, ulong PageCount)
{
    /// <summary>The range [<paramref name="start"/>, <paramref name="endExclusive"/>); both page aligned.</summary>
    public static PageRange FromBounds(ulong start, ulong endExclusive) => new(start, (endExclusive - start) >> PageSize.Shift);

    /// <summary>Address of the first byte behind the range.</summary>
    public ulong EndExclusive => Start + (PageCount << PageSize.Shift);

    /// <summary>Length in bytes.</summary>
    public ulong ByteCount => PageCount << PageSize.Shift;

    /// <summary>True when <paramref name="address"/> lies inside.</summary>
    public bool Contains(ulong address) => unchecked(address - Start) < ByteCount;

    /// <summary>The pages both ranges have in common; an empty range (zero pages) when there are none.</summary>
    public PageRange Intersect(PageRange other)
    {
        ulong start = Math.Max(Start, other.Start);
        ulong end = Math.Min(EndExclusive, other.EndExclusive);
        return end > start ? FromBounds(start, end) : new PageRange(start, 0);
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Start:x}-{EndExclusive:x} ({PageCount} pages)");
}
