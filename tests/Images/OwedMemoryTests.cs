using PostCopy.Images;
using PostCopy.Memory;
using static PostCopy.Tests.Images.SyntheticImages;

namespace PostCopy.Tests.Images;

public sealed class OwedMemoryTests : IDisposable
{
    private const uint Locked = 0x2000;
    private const uint HugeTlb = 0x40000;

    private readonly SyntheticImages _images = new();

    public void Dispose() => _images.Dispose();

    [Fact]
    public void Entries_are_merged_inside_a_vma_and_cut_between_vmas()
    {
        _images.Vmas(Vma(0, 8), Vma(8, 8), Vma(20, 4));
        _images.Pagemap(Entry(0, 2, 2), Entry(2, 2, 6), Entry(5, 6, 2), Entry(11, 1, 2), Entry(12, 1, 4), Entry(20, 4, 2));

        OwedMemory owed = OwedMemory.From(_images.Open());

        (ImagePid pid, IReadOnlyList<PageRange> ranges) = Assert.Single(owed.Ranges);
        Assert.Equal(new ImagePid(1), pid);
        Assert.Equal([new(At(0), 4), new(At(5), 3), new(At(8), 4), new(At(20), 4)], ranges);
        Assert.Equal(15UL, owed.TotalPages);
    }

    [Fact]
    public void Pages_in_the_parent_or_in_the_images_alone_are_not_owed()
    {
        _images.Pagemap(Entry(0, 2, 1), Entry(2, 2, 4));

        OwedMemory owed = OwedMemory.From(_images.Open());

        Assert.Empty(Assert.Single(owed.Ranges).Value);
        Assert.Equal(0UL, owed.TotalPages);
    }

    [Theory]
    [InlineData(PrivateAnonymous, Regular, true)]
    [InlineData(PrivateAnonymous | 0x100, Regular, true)]
    [InlineData(0x2u, 0x41u, false)]
    [InlineData(0x21u, 0x101u, false)]
    [InlineData(PrivateAnonymous | Locked, Regular, false)]
    [InlineData(PrivateAnonymous | HugeTlb, Regular, false)]
    [InlineData(PrivateAnonymous, Regular | 0x8u, false)]
    [InlineData(PrivateAnonymous, Regular | 0x1000u, false)]
    [InlineData(PrivateAnonymous, Regular | 0x4u, false)]
    public void A_lazy_page_must_lie_in_a_vma_that_can_be_lazy(uint flags, uint status, bool canBeLazy)
    {
        _images.Vmas(Vma(0, 4, flags, status));

        if (canBeLazy)
            Assert.Equal([new(At(0), 4)], LazyVmas(_images.Open()));
        else
            Assert.Contains("cannot be lazy", _images.Refused("pagemap-1.img").Message, StringComparison.Ordinal);
    }

    /// <summary>Else a few bytes would make sums that no 64 bits hold.</summary>
    [Fact]
    public void A_vma_that_can_be_lazy_ends_within_the_widest_address_space()
    {
        const ulong limit = 1UL << 57;
        static ProtoWriter Vma(ulong end) =>
            new ProtoWriter().Number(1, At(0)).Number(2, end).Number(3, 0).Number(4, 0).Number(5, 3).Number(6, PrivateAnonymous).Number(7, Regular).Number(8, 1);
        _images.Vmas(Vma(limit));
        Assert.Equal((long)((limit - At(0)) >> PageSize.Shift), ImageInspector.Inspect(_images.Path).Memory.Zero.Pages + 4);

        _images.Vmas(Vma(limit + 4096));
        Assert.Contains("above the limit", _images.Refused("mm-1.img").Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_page_outside_every_vma_is_refused()
    {
        _images.Vmas(Vma(0, 2), Vma(3, 1));
        _images.Refused("pagemap-1.img");

        _images.Vmas(Vma(0, 2));
        _images.Refused("pagemap-1.img");
    }

    [Fact]
    public void Overlapping_vmas_are_refused_but_guard_regions_may_lie_on_top()
    {
        const uint guard = Regular | 0x10000;
        _images.Vmas(Vma(0, 8), Vma(5, 1, status: guard));
        Assert.Equal([new(At(0), 8)], LazyVmas(_images.Open()));

        _images.Vmas(Vma(0, 8), Vma(5, 1));
        Assert.Contains("overlaps", _images.Refused("mm-1.img").Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_zombie_has_no_memory_and_its_thread_ids_mean_nothing()
    {
        _images.Tree(Task(1, 0), new ProtoWriter().Number(1, 2).Number(2, 1).Number(3, 2).Number(4, 2).Number(5, 0xfba4_0d10));
        _images.Core(2, state: 2);

        ImageSet set = _images.Open();

        Assert.Equal(ImageTaskState.Zombie, set.Processes[1].State);
        Assert.Equal(new ImagePid(1), Assert.Single(OwedMemory.From(set).Ranges).Key);
    }

    private static IEnumerable<PageRange> LazyVmas(ImageSet images) => images.Processes[0].Vmas.Where(static vma => vma.CanBeLazy).Select(static vma => vma.Range);
}
