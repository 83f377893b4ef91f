using PostCopy.Memory;

namespace PostCopy.Images;

/// <summary>
/// The pages that a lazy restore leaves out and that must be delivered afterwards. Both sides compute it from the very same images, so the list
/// itself never travels.
/// </summary>
internal sealed class OwedMemory
{
    private OwedMemory(
        IReadOnlyList<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> ranges,
        IReadOnlyList<KeyValuePair<ImagePid, PageRange>> wipedOnFork,
        ulong totalPages)
    {
        Ranges = ranges;
        WipedOnFork = wipedOnFork;
        TotalPages = totalPages;
    }

    /// <summary>
    /// Per live process, in the order of the tree: the owed pages, in ascending order, merged, and cut at the borders of VMAs, because one
    /// UFFDIO_COPY must stay inside one VMA. A process that is owed nothing has an empty list.
    /// </summary>
    public IReadOnlyList<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> Ranges { get; }

    /// <summary>
    /// Owed pages that a child must not inherit (MADV_WIPEONFORK). They have to be in place before a task can fork: a child is owed what its parent is owed, and
    /// nothing tells the one kind of mapping from the other then.
    /// </summary>
    public IReadOnlyList<KeyValuePair<ImagePid, PageRange>> WipedOnFork { get; }

    /// <summary>The pages of all <see cref="Ranges"/> together.</summary>
    public ulong TotalPages { get; }

    /// <summary>Computes it.</summary>
    /// <exception cref="ImageFormatException">A lazy page lies outside the VMAs that can be lazy: it could never be put in place.</exception>
    public static OwedMemory From(ImageSet images)
    {
        List<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> ranges = [];
        List<KeyValuePair<ImagePid, PageRange>> wipedOnFork = [];
        ulong totalPages = 0;
        foreach (ImageProcess process in images.Processes.Where(static process => process.IsLive))
        {
            List<PageRange> owed = OwedTo(images, process, wipedOnFork);
            foreach (PageRange range in owed)
            {
                totalPages += range.PageCount;
            }

            ranges.Add(new(process.Pid, owed));
        }

        return new OwedMemory(ranges, wipedOnFork, totalPages);
    }

    private static List<PageRange> OwedTo(ImageSet images, ImageProcess process, List<KeyValuePair<ImagePid, PageRange>> wipedOnFork)
    {
        List<PageRange> owed = new(process.Pagemap.Count);
        int lastVma = -1;
        foreach ((int vmaIndex, ImageVma vma, PagemapRun run) in images.PagesByVma(process))
        {
            if (!run.IsOwed)
            {
                continue;
            }

            if (!vma.CanBeLazy)
            {
                throw new ImageFormatException(images.Path, $"pagemap-{process.Pid}.img: lazy pages {run.Range} in a VMA that cannot be lazy");
            }

            if (vma.IsWipedOnFork)
            {
                wipedOnFork.Add(new(process.Pid, run.Range));
            }

            // CRIU ends an entry wherever one of its pipes was full.
            if (vmaIndex == lastVma && owed[^1].EndExclusive == run.Range.Start)
            {
                owed[^1] = owed[^1] with { PageCount = owed[^1].PageCount + run.Range.PageCount };
            }
            else
            {
                owed.Add(run.Range);
            }

            lastVma = vmaIndex;
        }

        return owed;
    }
}
