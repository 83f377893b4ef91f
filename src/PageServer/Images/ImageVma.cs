using PostCopy.Memory;

namespace PostCopy.Images;

/// <summary>One mapping of a dumped process.</summary>
/// <param name="Start">Address of its first byte.</param>
/// <param name="EndExclusive">Address of the first byte behind it.</param>
/// <param name="Flags">MAP_ bits, as mmap(2) numbers them.</param>
/// <param name="Status">What CRIU found it to be.</param>
/// <param name="Advice">A bit for each MADV_ number of madvise(2) that is in force.</param>
internal readonly record struct ImageVma(ulong Start, ulong EndExclusive, MapFlags Flags, VmaStatus Status, ulong Advice)
{
    private const int MADV_WIPEONFORK = 18;

    private const MapFlags LazyFlags = MapFlags.Anonymous | MapFlags.Private;
    private const MapFlags EagerFlags = MapFlags.Locked | MapFlags.HugeTlb;
    private const VmaStatus EagerStatus = VmaStatus.Vdso | VmaStatus.Vvar | VmaStatus.Vsyscall;

    public PageRange Range => PageRange.FromBounds(Start, EndExclusive);

    /// <summary>A guard region: a fake VMA that lies on top of a real one (CRIU 4.2).</summary>
    public bool IsGuard => (Status & VmaStatus.Guard) != 0;

    /// <summary>A forked child finds zeroes there, whatever its parent has.</summary>
    public bool IsWipedOnFork => (Advice & (1UL << MADV_WIPEONFORK)) != 0;

    /// <summary>CRIU's own rule (<c>vma_entry_can_be_lazy</c>): such VMAs, and no others, are registered with the userfaultfd on restore.</summary>
    public bool CanBeLazy => (Flags & (LazyFlags | EagerFlags)) == LazyFlags && (Status & EagerStatus) == 0;
}
