using PostCopy.Images;
using PostCopy.Memory;

namespace PostCopy.LazyPages;

/// <summary>The owed pages as they are asked for: one range for each pagemap entry, which is what one pipe of CRIU's holds.</summary>
internal static class OwedEntries
{
    /// <exception cref="ImageFormatException">The pages are to come from the images, and these do not have them.</exception>
    internal static List<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> Of(ImageSet images, bool mustBePresent)
    {
        List<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> entries = [];
        foreach (ImageProcess process in images.Processes.Where(static process => process.IsLive))
        {
            List<PageRange> ranges = [];
            foreach (VmaPages pages in images.PagesByVma(process))
            {
                if (!pages.Run.IsOwed)
                {
                    continue;
                }

                if (mustBePresent && (pages.Run.Flags & PagemapFlags.Present) == 0)
                {
                    throw new ImageFormatException(
                        images.Path,
                        $"a lazy dump, whose pages are still with the dumped processes (the first at {pages.Run.Range.Start:x} of process {process.Pid}): name their page server with --page-server, --address and --port");
                }

                ranges.Add(pages.Run.Range);
            }

            entries.Add(new(process.Pid, ranges));
        }

        return entries;
    }
}
