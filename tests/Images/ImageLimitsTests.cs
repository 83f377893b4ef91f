using PostCopy.Images;
using static PostCopy.Tests.Images.SyntheticImages;

namespace PostCopy.Tests.Images;

/// <summary>Each limit: just met is accepted, crossed is refused, and the message names the file and the limit.</summary>
public sealed class ImageLimitsTests : IDisposable
{
    private const string SharedMemory = "pagemap-shmem-7.img";

    private readonly SyntheticImages _images = new();

    public static TheoryData<string, string, object, object> Limits => new()
    {
        { "pid", "pstree.img", new ImageLimits { MaxPid = 2 }, new ImageLimits { MaxPid = 1 } },
        { "processes", "pstree.img", new ImageLimits { MaxProcesses = 2 }, new ImageLimits { MaxProcesses = 1 } },
        { "threads", "pstree.img", new ImageLimits { MaxThreadsPerProcess = 2 }, new ImageLimits { MaxThreadsPerProcess = 1 } },
        { "VMAs", "mm-1.img", new ImageLimits { MaxVmasPerProcess = 3 }, new ImageLimits { MaxVmasPerProcess = 2 } },
        { "entries", "pagemap-1.img", new ImageLimits { MaxEntriesPerPagemap = 2 }, new ImageLimits { MaxEntriesPerPagemap = 1 } },
        { "nr_pages", "pagemap-1.img", new ImageLimits { MaxPagesPerPagemap = 5 }, new ImageLimits { MaxPagesPerPagemap = 3 } },
        { "pages in all", "pagemap-1.img", new ImageLimits { MaxPagesPerPagemap = 5 }, new ImageLimits { MaxPagesPerPagemap = 4 } },
        { "pages in all", "pagemap-1.img", new ImageLimits { MaxPagesInAll = 5 }, new ImageLimits { MaxPagesInAll = 4 } },
        { "comm", "core-1.img", new ImageLimits { MaxCommandBytes = 9 }, new ImageLimits { MaxCommandBytes = 8 } },
        { "dump_criu_run_id", "inventory.img", new ImageLimits { MaxRunIdChars = 36 }, new ImageLimits { MaxRunIdChars = 35 } },
        { "entry size", "inventory.img", new ImageLimits { MaxInventoryEntryBytes = 42 }, new ImageLimits { MaxInventoryEntryBytes = 41 } },
        { "entry size", "ids-1.img", new ImageLimits { MaxIdsEntryBytes = 2 }, new ImageLimits { MaxIdsEntryBytes = 1 } },
        { "entry size", "pstree.img", new ImageLimits { MaxPstreeEntryBytes = 12 }, new ImageLimits { MaxPstreeEntryBytes = 11 } },
        { "entry size", "core-1.img", new ImageLimits { MaxCoreEntryBytes = 19 }, new ImageLimits { MaxCoreEntryBytes = 18 } },
        { "entry size", "mm-1.img", new ImageLimits { MaxMmEntryBytes = 89 }, new ImageLimits { MaxMmEntryBytes = 88 } },
        { "entry size", "pagemap-1.img", new ImageLimits { MaxPagemapEntryBytes = 13 }, new ImageLimits { MaxPagemapEntryBytes = 12 } },
    };

    public void Dispose() => _images.Dispose();

    [Theory]
    [MemberData(nameof(Limits))]
    public void Each_limit_is_met_and_crossed(string field, string file, object met, object crossed)
    {
        _images.Tree(Task(1, 0).Number(5, 3), Task(2, 1));
        _images.Core(2, state: 2);
        _images.Vmas(Vma(0, 4), Vma(4, 4), Vma(8, 4));
        _images.Pagemap(Entry(0, 4, 2), Entry(5, 1, 2));

        _images.Open((ImageLimits)met);
        string message = _images.Refused(file, (ImageLimits)crossed).Message;
        Assert.Contains(field, message, StringComparison.Ordinal);
        Assert.Matches(@"limit of \d+|at most \d+", message);
    }

    [Fact]
    public void Shared_memory_and_files_have_limits_in_inspect()
    {
        _images.File(SharedMemory, PagemapMagic, new ProtoWriter().Number(1, 2), new ProtoWriter().Number(1, 0).Number(4, 4).Number(5, 9));
        long bytes = ImageInspector.Inspect(_images.Path).Downtime.ImageBytes;

        InspectMeets(new() { MaxSharedMemoryImages = 1 }, new() { MaxSharedMemoryImages = 0 });
        InspectMeets(new() { MaxPagesInAll = 9 }, new() { MaxPagesInAll = 8 });
        InspectMeets(new() { MaxFileBytesInAll = bytes }, new() { MaxFileBytesInAll = bytes - 1 });
    }

    private void InspectMeets(ImageLimits met, ImageLimits crossed)
    {
        ImageInspector.Inspect(_images.Path, met);
        Assert.Contains("limit of", Assert.Throws<ImageFormatException>(() => ImageInspector.Inspect(_images.Path, crossed)).Message, StringComparison.Ordinal);
    }
}
