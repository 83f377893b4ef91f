using System.Globalization;
using PostCopy.Memory;

namespace PostCopy.Images;

/// <summary>Says what a CRIU image directory holds and what of it would cost downtime.</summary>
public static class ImageInspector
{
    private const int LargestFileCount = 10;
    private const string ParentLink = "parent";
    private const string SharedMemoryPrefix = "pagemap-shmem-";

    /// <summary>Reads the images in <paramref name="directory"/>; the pages themselves are not read.</summary>
    /// <exception cref="ImageFormatException">It is no image directory, or a damaged one.</exception>
    public static ImageSummary Inspect(string directory) => Inspect(directory, ImageLimits.Default);

    internal static ImageSummary Inspect(string directory, ImageLimits limits)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);

        ImageSet images = ImageDirectory.Open(directory, limits);
        var total = new MemoryTally();
        List<ProcessSummary> processes = [];
        foreach (ImageProcess process in images.Processes)
        {
            var own = new MemoryTally();
            foreach (ImageVma vma in process.Vmas)
            {
                own.Add(vma);
            }

            foreach (VmaPages pages in images.PagesByVma(process))
            {
                own.Add(pages.Run, pages.Vma);
            }

            total.Add(own);
            processes.Add(Summarise(process, own));
        }

        List<SharedMemorySummary> shared = SharedMemory(directory, limits, total);
        return new ImageSummary(
            directory,
            (int)images.Inventory.ImageVersion,
            images.Inventory.CriuRunId,
            images.Inventory.NetworkLock,
            images.HasOwnNetworkNamespace,
            PageSize.Bytes,
            Parents(directory),
            processes,
            total.Summarise(),
            shared,
            Downtime(directory, limits, lazyBytes: total.Summarise().LazyInImages.Bytes));
    }

    /// <summary>Along CRIU's links <c>parent</c>, each relative to the directory it is in. A chain that comes back to itself ends there.</summary>
    private static List<string> Parents(string directory)
    {
        List<string> parents = [];
        string at = Path.GetFullPath(directory);
        while (new DirectoryInfo(Path.Join(at, ParentLink)) is { Exists: true } link)
        {
            at = link.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? link.FullName;
            if (parents.Contains(at))
            {
                break;
            }

            parents.Add(at);
        }

        return parents;
    }

    private static ProcessSummary Summarise(ImageProcess process, MemoryTally memory) => new(
        process.Pid.Value,
        process.ParentPid?.Value,
        process.ProcessGroup,
        process.Session,
        process.ThreadCount,
        process.State,
        process.Command,
        memory.Summarise());

    private static List<SharedMemorySummary> SharedMemory(string directory, ImageLimits limits, MemoryTally total)
    {
        ulong pagesInAll = 0;
        List<SharedMemorySummary> shared = [];
        foreach (string path in Directory.EnumerateFiles(directory, SharedMemoryPrefix + "*.img"))
        {
            if (shared.Count == limits.MaxSharedMemoryImages)
            {
                throw new ImageFormatException(directory, $"more shared memory images than the limit of {limits.MaxSharedMemoryImages}");
            }

            if (!uint.TryParse(Path.GetFileNameWithoutExtension(path).AsSpan(SharedMemoryPrefix.Length), CultureInfo.InvariantCulture, out uint id))
            {
                continue;
            }

            PagemapImage pagemap = PagemapImage.Read(path, limits);
            pagesInAll += pagemap.PageCount;
            if (pagesInAll > limits.MaxPagesInAll)
            {
                throw new ImageFormatException(path, $"more pages in all than the limit of {limits.MaxPagesInAll}");
            }

            ulong pages = 0;
            foreach (PagemapRun run in pagemap.Runs)
            {
                total.AddShared(run);
                if ((run.Flags & PagemapFlags.Parent) == 0)
                {
                    pages += run.Range.PageCount;
                }
            }

            shared.Add(new SharedMemorySummary(id, MemoryTally.Amount(pages)));
        }

        return [.. shared.OrderBy(static memory => memory.Id)];
    }

    private static DowntimeSummary Downtime(string directory, ImageLimits limits, long lazyBytes)
    {
        FileInfo[] files =
        [
            .. new DirectoryInfo(directory).EnumerateFiles()
                .Where(static file => !file.Name.EndsWith(".log", StringComparison.Ordinal))
                .OrderByDescending(static file => file.Length)
                .ThenBy(static file => file.Name, StringComparer.Ordinal),
        ];
        long total = 0;
        foreach (FileInfo file in files)
        {
            if (file.Length > limits.MaxFileBytesInAll - total)
            {
                throw new ImageFormatException(directory, $"more bytes in its files than the limit of {limits.MaxFileBytesInAll}");
            }

            total += file.Length;
        }

        return new DowntimeSummary(
            Math.Max(total - lazyBytes, 0),
            files.Length,
            [.. files.Take(LargestFileCount).Select(static file => new ImageFileSize(file.Name, file.Length))]);
    }
}
