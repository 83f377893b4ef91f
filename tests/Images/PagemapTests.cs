using PostCopy.Images;
using PostCopy.Memory;
using static PostCopy.Tests.Images.SyntheticImages;

namespace PostCopy.Tests.Images;

public sealed class PagemapTests : IDisposable
{
    private readonly SyntheticImages _images = new();

    public void Dispose() => _images.Dispose();

    [Fact]
    public void Both_forms_of_the_page_count_are_read()
    {
        _images.Pagemap(OldEntry(0, 3, flags: 2), Entry(5, 4, flags: 6), OldEntry(10, 1, flags: 4));

        Assert.Equal(
            [
                new(new PageRange(At(0), 3), PagemapFlags.Lazy),
                new(new PageRange(At(5), 4), PagemapFlags.Lazy | PagemapFlags.Present),
                new(new PageRange(At(10), 1), PagemapFlags.Present),
            ],
            _images.Open().Processes[0].Pagemap);
    }

    [Theory]
    [InlineData(null, null, PagemapFlags.Present)]
    [InlineData(null, false, PagemapFlags.Present)]
    [InlineData(null, true, PagemapFlags.Parent)]
    [InlineData(1u, null, PagemapFlags.Parent)]
    [InlineData(2u, false, PagemapFlags.Lazy)]
    internal void Absent_flags_are_filled_in_as_criu_does(uint? flags, bool? inParent, PagemapFlags expected)
    {
        _images.Pagemap(OldEntry(0, 1, flags, inParent));

        Assert.Equal(expected, Assert.Single(_images.Open().Processes[0].Pagemap).Flags);
    }

    [Theory]
    [InlineData(0u)]
    [InlineData(8u)]
    [InlineData(10u)]
    [InlineData(3u)]
    [InlineData(5u)]
    public void Flags_without_one_clear_meaning_are_refused(uint flags)
    {
        _images.Pagemap(Entry(0, 1, flags));

        Assert.Contains("flags", _images.Refused("pagemap-1.img").Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_count_of_no_known_field_is_refused_and_not_taken_for_nothing_owed()
    {
        _images.Pagemap(new ProtoWriter().Number(1, At(0)).Number(2, 0).Number(4, 2).Number(6, 4));

        Assert.Contains("nr_pages", _images.Refused("pagemap-1.img").Message, StringComparison.Ordinal);
    }

    /// <summary>Entries are read into one message: what one had must not be taken for a later one's.</summary>
    [Fact]
    public void An_entry_has_nothing_of_the_one_before()
    {
        _images.Pagemap(Entry(0, 4, flags: 2), OldEntry(5, 3, flags: null), OldEntry(9, 1, flags: null, inParent: true), OldEntry(11, 2, flags: null));
        Assert.Equal(
            [
                new(new PageRange(At(0), 4), PagemapFlags.Lazy),
                new(new PageRange(At(5), 3), PagemapFlags.Present),
                new(new PageRange(At(9), 1), PagemapFlags.Parent),
                new(new PageRange(At(11), 2), PagemapFlags.Present),
            ],
            _images.Open().Processes[0].Pagemap);

        _images.Pagemap(Entry(0, 4, flags: 2), new ProtoWriter().Number(1, At(5)).Number(4, 2));
        Assert.Contains("nr_pages", _images.Refused("pagemap-1.img").Message, StringComparison.Ordinal);

        _images.Pagemap(Entry(0, 4, flags: 2), new ProtoWriter().Number(4, 2).Number(5, 1));
        Assert.Contains("vaddr is missing", _images.Refused("pagemap-1.img").Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Overlapping_or_descending_entries_are_refused()
    {
        _images.Pagemap(Entry(0, 4, flags: 2), Entry(3, 1, flags: 2));
        _images.Refused("pagemap-1.img");

        _images.Pagemap(Entry(8, 1, flags: 2), Entry(0, 1, flags: 2));
        _images.Refused("pagemap-1.img");
    }

    [Fact]
    public void Addresses_off_a_page_or_off_the_end_are_refused()
    {
        _images.Pagemap(new ProtoWriter().Number(1, At(0) + 1).Number(4, 2).Number(5, 1));
        _images.Refused("pagemap-1.img");

        _images.Pagemap(new ProtoWriter().Number(1, ulong.MaxValue & ~((ulong)PageSize.Bytes - 1)).Number(4, 2).Number(5, 1));
        _images.Refused("pagemap-1.img");

        _images.Pagemap(new ProtoWriter().Number(4, 2).Number(5, 1));
        Assert.Contains("vaddr is missing", _images.Refused("pagemap-1.img").Message, StringComparison.Ordinal);
    }
}
