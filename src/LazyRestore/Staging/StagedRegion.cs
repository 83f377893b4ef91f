using System.Numerics;
using PostCopy.Memory;

namespace PostCopy.Staging;

/// <summary>Where the pages of 512 neighbouring addresses are: 2 MiB of memory for 2 KiB of index.</summary>
/// <remarks>Its monitor is held by whoever uses pages of it that may be freed, or frees them.</remarks>
internal sealed class StagedRegion(ulong number)
{
    internal const int Pages = 512;
    internal const int None = 0;
    internal const int Zero = -1;
    private const int PagesShift = 9;

    /// <summary>What it takes itself: a slot's number and a bit for each page, and some.</summary>
    internal const long IndexBytes = (Pages * sizeof(int)) + (Pages / 8) + 192;

    private readonly int[] _slots = new int[Pages];
    private readonly ulong[] _valid = new ulong[Pages / 64];

    /// <summary>Page <paramref name="page"/>'s slot, from 1; or <see cref="None"/>, or <see cref="Zero"/>.</summary>
    internal ref int this[int page] => ref _slots[page];

    /// <summary>The pages are in place, or were needless: none of this region is kept any more.</summary>
    internal bool IsFreed { get; set; }

    internal static ulong NumberOf(ulong address) => address >> (PageSize.Shift + PagesShift);

    internal static int PageOf(ulong address) => (int)((address >> PageSize.Shift) & (Pages - 1));

    internal ulong AddressOf(int page) => ((number << PagesShift) | (uint)page) << PageSize.Shift;

    internal bool IsValid(int page) => (_valid[page >> 6] >> (page & 63) & 1) != 0;

    internal void MarkValid(int page) => _valid[page >> 6] |= 1UL << (page & 63);

    internal int ValidPages => _valid.Sum(static word => BitOperations.PopCount(word));
}
