namespace PostCopy.Memory;

/// <summary>The host's page size and the arithmetic that goes with it. Both hosts of a migration must agree on it (checked in the hello).</summary>
public static class PageSize
{
    /// <summary>Bytes in one page of this host (<c>sysconf(_SC_PAGESIZE)</c>): 4096 on x86-64; 4, 16 or 64 KiB on arm64.</summary>
    public static readonly int Bytes = Environment.SystemPageSize;

    /// <summary>Base-2 logarithm of <see cref="Bytes"/>.</summary>
    public static readonly int Shift = System.Numerics.BitOperations.Log2((uint)Environment.SystemPageSize);

    /// <summary>The start of the page that holds <paramref name="address"/>.</summary>
    public static ulong AlignDown(ulong address) => address & ~((ulong)Bytes - 1);

    /// <summary>True when <paramref name="value"/> is a multiple of the page size.</summary>
    public static bool IsAligned(ulong value) => (value & ((ulong)Bytes - 1)) == 0;

    /// <summary>Bytes in <paramref name="pages"/> pages. Throws <see cref="OverflowException"/> when the product does not fit.</summary>
    public static ulong ToBytes(ulong pages) => checked(pages * (ulong)Bytes);

    /// <summary>Whole pages in <paramref name="bytes"/>, rounded up.</summary>
    public static ulong PagesIn(ulong bytes) => (bytes >> Shift) + (IsAligned(bytes) ? 0UL : 1UL);
}
