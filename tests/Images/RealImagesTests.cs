using PostCopy.Images;
using PostCopy.Memory;

namespace PostCopy.Tests.Images;

[Collection(RealImagesCollection.Name)]
public sealed class RealImagesTests(RealImages images)
{
    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void The_process_tree_is_read(bool lazy)
    {
        ImageSet set = Open(lazy);

        Assert.Equal(2u, set.Inventory.ImageVersion);
        Assert.True(Guid.TryParse(set.Inventory.CriuRunId, out _));
        Assert.False(set.HasOwnNetworkNamespace);

        ImageProcess root = set.Processes[0];
        Assert.Equal(new ImagePid(images.RootPid), root.Pid);
        Assert.Null(root.ParentPid);
        Assert.Equal(2, root.ThreadCount);
        Assert.All(set.Processes.Skip(1), child => Assert.Equal(root.Pid, child.ParentPid));
        Assert.All(set.Processes, process => Assert.Equal((root.Pid.Value, "zoo"), (process.Session, process.Command)));
        Assert.Equal(
            [ImageTaskState.Alive, ImageTaskState.Alive, ImageTaskState.Stopped, ImageTaskState.Zombie],
            set.Processes.Select(process => process.State).Order());
    }

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Owed_ranges_are_merged_and_cut_at_vma_borders(bool lazy)
    {
        OwedMemory owed = OwedMemory.From(Open(lazy));

        Assert.Equal(3, owed.Ranges.Count);
        Assert.Equal(owed.TotalPages, owed.Ranges.Aggregate(0UL, (sum, process) => sum + Pages(process.Value)));
        foreach ((ImagePid _, IReadOnlyList<PageRange> ranges) in owed.Ranges)
        {
            Assert.Equal([new(MemoryZoo.TwoVmas, 32), new(MemoryZoo.TwoVmas + (32UL << PageSize.Shift), 32)], Inside(ranges, MemoryZoo.TwoVmas));
            Assert.Equal([new(MemoryZoo.Large, 3000)], Inside(ranges, MemoryZoo.Large));
            Assert.Empty(Inside(ranges, MemoryZoo.Untouched));
            Assert.Empty(Inside(ranges, MemoryZoo.FilePrivate));
            Assert.Empty(Inside(ranges, MemoryZoo.Shared));
        }

        // mlock is not inherited by fork (mlock(2)), so only the root's copy is locked.
        Assert.Empty(Inside(owed.Ranges[0].Value, MemoryZoo.Locked));
        Assert.Equal([new(MemoryZoo.Locked, 8)], Inside(owed.Ranges[1].Value, MemoryZoo.Locked));
    }

    [SkippableFact]
    public void Vmas_that_can_be_lazy_include_untouched_ones()
    {
        PageRange[] vmas = [.. Open(lazy: true).Processes[0].Vmas.Where(static vma => vma.CanBeLazy).Select(static vma => vma.Range)];
        Assert.Equal([new(MemoryZoo.Untouched, 100)], Inside(vmas, MemoryZoo.Untouched));
        Assert.Equal([new(MemoryZoo.Large, 3000)], Inside(vmas, MemoryZoo.Large));
        Assert.Empty(Inside(vmas, MemoryZoo.Locked));
        Assert.Empty(Inside(vmas, MemoryZoo.FilePrivate));
        Assert.Empty(Inside(vmas, MemoryZoo.Shared));
    }

    [SkippableFact]
    public void A_guard_region_is_no_vma_and_owes_nothing()
    {
        ImageSet set = Open(lazy: true);
        Skip.IfNot(images.HasGuardRegions, "this kernel has no guard regions (6.13)");

        Assert.Equal([new(MemoryZoo.Guarded, 16)], Inside(set.Processes[0].Vmas.Select(vma => vma.Range), MemoryZoo.Guarded));
        Assert.Equal(
            [new(MemoryZoo.Guarded, 4), new(MemoryZoo.Guarded + (8UL << PageSize.Shift), 8)],
            Inside(OwedMemory.From(set).Ranges[0].Value, MemoryZoo.Guarded));
    }

    [SkippableFact]
    public void Inspect_accounts_for_every_page_of_the_pages_files()
    {
        Open(lazy: true);
        ImageSummary lazy = ImageInspector.Inspect(images.Lazy);
        ImageSummary plain = ImageInspector.Inspect(images.Plain);

        Assert.Equal(PagesFileBytes(images.Lazy), lazy.Memory.Eager.Bytes);
        Assert.Equal(0, lazy.Memory.LazyInImages.Pages);
        Assert.Equal(PagesFileBytes(images.Plain), plain.Memory.Eager.Bytes + plain.Memory.LazyInImages.Bytes);
        Assert.Equal(plain.Memory.Lazy, plain.Memory.LazyInImages);
        Assert.Equal((long)OwedMemory.From(Open(lazy: true)).TotalPages, lazy.Memory.Lazy.Pages);

        Assert.Equal(8, PagesOf(lazy, EagerReason.Locked));
        Assert.Equal(16, PagesOf(lazy, EagerReason.Shared));
        Assert.InRange(PagesOf(lazy, EagerReason.FilePrivate), 3 * 2, 3 * 100);
        Assert.Equal(0, PagesOf(lazy, EagerReason.Other));
        Assert.Equal(16, Assert.Single(lazy.SharedMemory).Amount.Pages);
    }

    [SkippableFact]
    public void Inspect_adds_up_the_image_files_without_the_log()
    {
        Open(lazy: true);
        DowntimeSummary downtime = ImageInspector.Inspect(images.Lazy).Downtime;

        string[] files = Directory.GetFiles(images.Lazy, "*.img");
        Assert.Equal(files.Sum(file => new FileInfo(file).Length), downtime.ImageBytes);
        Assert.Equal(files.Length, downtime.FileCount);
        Assert.Equal(10, downtime.LargestFiles.Count);
        Assert.Equal(files.Max(file => new FileInfo(file).Length), downtime.LargestFiles[0].Bytes);
    }

    /// <summary>Whoever wants to know before a migration makes a plain dump.</summary>
    [SkippableFact]
    public void What_a_plain_dump_holds_of_lazy_memory_is_not_said_to_travel_during_the_freeze()
    {
        Open(lazy: false);
        ImageSummary summary = ImageInspector.Inspect(images.Plain);
        Assert.True(summary.Memory.LazyInImages.Pages > 3000);
        Assert.Equal(Directory.GetFiles(images.Plain).Where(static file => !file.EndsWith(".log", StringComparison.Ordinal)).Sum(file => new FileInfo(file).Length), summary.Downtime.ImageBytes + summary.Memory.LazyInImages.Bytes);
    }

    private static IEnumerable<PageRange> Inside(IEnumerable<PageRange> ranges, ulong specimen) =>
        ranges.Where(range => range.Start >= specimen && range.Start < specimen + (1UL << 32));

    private static ulong Pages(IEnumerable<PageRange> ranges) => ranges.Aggregate(0UL, (sum, range) => sum + range.PageCount);

    private static long PagesOf(ImageSummary summary, EagerReason reason) =>
        summary.Memory.EagerByReason.FirstOrDefault(part => part.Reason == reason).Amount.Pages;

    private static long PagesFileBytes(string directory) =>
        Directory.GetFiles(directory, "pages-*.img").Sum(file => new FileInfo(file).Length);

    private ImageSet Open(bool lazy)
    {
        Skip.If(images.SkipReason is not null, images.SkipReason);
        return ImageDirectory.Open(lazy ? images.Lazy : images.Plain);
    }
}
