using PostCopy.Memory;

namespace PostCopy.Images;

/// <summary>Adds up pages by the way they travel.</summary>
internal sealed class MemoryTally
{
    private readonly SortedDictionary<EagerReason, ulong> _eager = [];
    private ulong _lazy;
    private ulong _lazyInImages;
    private ulong _parent;
    private ulong _mappedAnonymous;
    private ulong _dumpedAnonymous;

    /// <summary>A mapping as a whole, whatever of it is in the images.</summary>
    public void Add(ImageVma vma)
    {
        if (vma.CanBeLazy && !vma.IsGuard)
        {
            _mappedAnonymous += (vma.EndExclusive - vma.Start) >> PageSize.Shift;
        }
    }

    public void Add(PagemapRun run, ImageVma vma)
    {
        ulong pages = run.Range.PageCount;
        if (vma.CanBeLazy)
        {
            _dumpedAnonymous += pages;
        }

        if ((run.Flags & PagemapFlags.Parent) != 0)
        {
            _parent += pages;
        }
        else if (!run.IsOwed)
        {
            AddEager(ReasonOf(vma), pages);
        }
        else
        {
            AddLazy(pages, inImages: (run.Flags & PagemapFlags.Present) != 0);
        }
    }

    public void AddShared(PagemapRun run)
    {
        if ((run.Flags & PagemapFlags.Parent) != 0)
        {
            _parent += run.Range.PageCount;
        }
        else
        {
            AddEager(EagerReason.Shared, run.Range.PageCount);
        }
    }

    public void Add(MemoryTally other)
    {
        _lazy += other._lazy;
        _lazyInImages += other._lazyInImages;
        _parent += other._parent;
        _mappedAnonymous += other._mappedAnonymous;
        _dumpedAnonymous += other._dumpedAnonymous;
        foreach ((EagerReason reason, ulong pages) in other._eager)
        {
            AddEager(reason, pages);
        }
    }

    public MemorySummary Summarise() => new(
        Amount(_lazy),
        Amount(_lazyInImages),
        Amount(_eager.Values.Aggregate(0UL, static (sum, pages) => sum + pages)),
        Amount(_parent),
        Amount(_mappedAnonymous - _dumpedAnonymous),
        [.. _eager.OrderByDescending(static part => part.Value).Select(static part => new EagerMemory(part.Key, Amount(part.Value)))]);

    /// <summary>Reserved address space of many processes may be more bytes than 64 bits can count.</summary>
    public static PageAmount Amount(ulong pages) => new((long)pages, (long)PageSize.ToBytes(Math.Min(pages, ulong.MaxValue >> (PageSize.Shift + 1))));

    private void AddLazy(ulong pages, bool inImages)
    {
        _lazy += pages;
        if (inImages)
        {
            _lazyInImages += pages;
        }
    }

    private void AddEager(EagerReason reason, ulong pages) => _eager[reason] = _eager.GetValueOrDefault(reason) + pages;

    private static EagerReason ReasonOf(ImageVma vma) => vma switch
    {
        { CanBeLazy: true } => EagerReason.StackPointer,
        _ when (vma.Status & VmaStatus.Vdso) != 0 => EagerReason.Vdso,
        _ when (vma.Status & VmaStatus.AioRing) != 0 => EagerReason.AioRing,
        _ when (vma.Flags & MapFlags.HugeTlb) != 0 => EagerReason.HugeTlb,
        _ when (vma.Status & (VmaStatus.AnonymousShared | VmaStatus.FileShared | VmaStatus.SysVIpc)) != 0 => EagerReason.Shared,
        _ when (vma.Status & VmaStatus.FilePrivate) != 0 => EagerReason.FilePrivate,
        _ when (vma.Flags & MapFlags.Locked) != 0 => EagerReason.Locked,
        _ => EagerReason.Other,
    };
}
