using PostCopy.Memory;

namespace PostCopy.Faults;

/// <summary>Pages that were copied before the freeze and are still what they were: on this host already, and not in place yet.</summary>
internal unsafe interface IStagedPages
{
    /// <summary>
    /// Pages from an address on, at most <paramref name="maxPages"/>, which stay until they are given back. False when there is none. Must neither block for
    /// long nor allocate: the fault thread asks.
    /// </summary>
    bool TryBorrow(ImagePid pid, ulong dumpTime, int maxPages, out BorrowedPages pages);

    /// <summary>Gives them back. On the thread that borrowed them.</summary>
    void Return(in BorrowedPages pages);
}

/// <summary>Staged pages while they are borrowed.</summary>
/// <param name="owner">Of the lender.</param>
/// <param name="bytes">The pages, one after the other; null when they are zero pages.</param>
/// <param name="count">How many.</param>
internal readonly unsafe struct BorrowedPages(object owner, byte* bytes, int count)
{
    public object Owner => owner;

    public byte* Bytes => bytes;

    public int Count => count;
}
