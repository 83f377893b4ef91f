using Google.Protobuf;
using PostCopy.Images.Proto;
using PostCopy.Memory;

namespace PostCopy.Images;

/// <summary>What <c>pagemap-PID.img</c> or <c>pagemap-shmem-ID.img</c> holds, in the form of CRIU up to 4.1 or of CRIU since 4.2.</summary>
/// <param name="PagesId">The N of the <c>pages-N.img</c> with the present pages.</param>
/// <param name="Runs">The entries, in ascending order and without overlap.</param>
/// <param name="PageCount">The pages of all runs together.</param>
internal sealed record PagemapImage(uint PagesId, IReadOnlyList<PagemapRun> Runs, ulong PageCount)
{
    // A size, an address, a count and flags, each with its tag.
    private const int UsualEntryBytes = 15;

    private const PagemapFlags KnownFlags = PagemapFlags.Parent | PagemapFlags.Lazy | PagemapFlags.Present;

    public static PagemapImage Read(string path, ImageLimits limits)
    {
        using ImageFile file = ImageFile.Open(path, ImageMagic.Pagemap, limits.MaxPagemapEntryBytes);
        PagemapHead head = file.ReadFirst(ImageParsers.PagemapHead);
        if (!head.HasPagesId)
        {
            throw file.Malformed("pages_id is missing");
        }

        MessageParser<PagemapEntry> entries = ImageParsers.ReusingPagemapEntry();
        List<PagemapRun> runs = new((int)Math.Min(file.RemainingBytes / UsualEntryBytes, limits.MaxEntriesPerPagemap));
        ulong totalPages = 0;
        ulong previousEnd = 0;
        while (file.ReadMessage(entries) is { } entry)
        {
            if (runs.Count == limits.MaxEntriesPerPagemap)
            {
                throw file.Malformed($"more entries than the limit of {limits.MaxEntriesPerPagemap}");
            }

            PagemapRun run = Normalise(file, entry, limits);
            if (run.Range.Start < previousEnd)
            {
                throw file.Malformed($"vaddr {run.Range.Start:x} lies before the end of the entry in front of it, {previousEnd:x}");
            }

            totalPages += run.Range.PageCount;
            if (totalPages > limits.MaxPagesPerPagemap)
            {
                throw file.Malformed($"{totalPages} pages in all are above the limit of {limits.MaxPagesPerPagemap}");
            }

            previousEnd = run.Range.EndExclusive;
            runs.Add(run);
        }

        return new PagemapImage(head.PagesId, runs, totalPages);
    }

    private static PagemapRun Normalise(ImageFile file, PagemapEntry entry, ImageLimits limits)
    {
        if (!entry.HasVaddr)
        {
            throw file.Malformed("vaddr is missing");
        }

        if (!PageSize.IsAligned(entry.Vaddr))
        {
            throw file.Malformed($"vaddr {entry.Vaddr:x} is not a multiple of the page size, {PageSize.Bytes}");
        }

        // CRIU 4.2 writes the count as field 5, and 0 into the old field 2. No count at all must not pass as "nothing is owed here".
        ulong pages = entry.HasNrPages ? entry.NrPages : entry.CompatNrPages;
        if (pages == 0)
        {
            throw file.Malformed($"nr_pages at vaddr {entry.Vaddr:x} is missing or 0");
        }

        if (pages > limits.MaxPagesPerPagemap)
        {
            throw file.Malformed($"nr_pages {pages} is above the limit of {limits.MaxPagesPerPagemap}");
        }

        if (PageSize.ToBytes(pages) > ulong.MaxValue - entry.Vaddr)
        {
            throw file.Malformed($"nr_pages {pages} at vaddr {entry.Vaddr:x} reaches beyond the address space");
        }

        return new PagemapRun(new PageRange(entry.Vaddr, pages), NormaliseFlags(file, entry));
    }

    private static PagemapFlags NormaliseFlags(ImageFile file, PagemapEntry entry)
    {
        var flags = (PagemapFlags)entry.Flags;
        if (entry.InParent)
        {
            flags |= PagemapFlags.Parent;
        }
        else if (!entry.HasFlags)
        {
            flags = PagemapFlags.Present;
        }

        // A bit with an unknown meaning, or two answers to where the page is, could end in a page that nobody delivers.
        if (flags == PagemapFlags.None || (flags & ~KnownFlags) != 0 || ((flags & PagemapFlags.Parent) != 0 && flags != PagemapFlags.Parent))
        {
            throw file.Malformed($"flags {(uint)flags:x} at vaddr {entry.Vaddr:x} make no sense");
        }

        return flags;
    }
}
