using System.Runtime.InteropServices;
using PostCopy.Memory;

namespace PostCopy.Tests.Faults;

/// <summary>What the dump held: the same rules as in the C program.</summary>
internal static class Pattern
{
    public static bool IsOwed(ulong page, ulong owedEnd) => page < owedEnd && page / 16 % 4 != 3;

    public static bool IsZero(ulong page) => page % 7 == 3;

    public static List<PageRange> OwedRanges(ulong start, ulong owedEnd)
    {
        List<PageRange> ranges = [];
        for (ulong page = 0; page < owedEnd; page += 64)
        {
            ranges.Add(new PageRange(start + PageSize.ToBytes(page), Math.Min(48, owedEnd - page)));
        }

        return ranges;
    }

    public static void Fill(ulong regionStart, PageRange range, Span<byte> bytes)
    {
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        ulong address = range.Start;
        for (int i = 0; i < words.Length; i++, address += sizeof(ulong))
        {
            ulong mixed = unchecked(address * 0x9e3779b97f4a7c15);
            words[i] = IsZero((address - regionStart) >> PageSize.Shift) ? 0 : mixed ^ (mixed >> 29);
        }
    }
}
