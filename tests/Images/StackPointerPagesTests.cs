using PostCopy.Images;
using PostCopy.Memory;
using static PostCopy.Tests.Images.SyntheticImages;

namespace PostCopy.Tests.Images;

public sealed class StackPointerPagesTests : IDisposable
{
    private const uint FilePrivateStatus = 0x41;

    private readonly SyntheticImages _images = new();

    public void Dispose() => _images.Dispose();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_was_kept_back_is_owed_and_what_must_be_there_stays(bool since42)
    {
        Func<ulong, ulong, uint, ProtoWriter> entry = since42 ? Entry : (page, pages, flags) => OldEntry(page, pages, flags);
        _images.Vmas(Vma(0, 8), Vma(8, 4, flags: 0x2, status: FilePrivateStatus), Vma(16, 4), Vma(20, 4, flags: 0x2, status: FilePrivateStatus));
        // One entry reaches from memory that can be lazy into some that cannot.
        _images.Pagemap(entry(1, 2, 4), entry(4, 2, 2), entry(6, 4, 4), entry(17, 5, 4));
        // Pages 1 2, 6 7 8 9, 17 to 21; each holds its number.
        WritePages(1, 2, 6, 7, 8, 9, 17, 18, 19, 20, 21);

        Assert.Equal(7UL, StackPointerPages.MakeLazy(_images.Open()));

        ImageSet after = _images.Open();
        Assert.Equal(
            [new PageRange(At(1), 2), new PageRange(At(4), 4), new PageRange(At(17), 3)],
            Assert.Single(OwedMemory.From(after).Ranges).Value);
        Assert.Equal(since42, PagemapDialect.IsSince42(after));
        Assert.Equal(
            [new PageRange(At(8), 2), new PageRange(At(20), 2)],
            after.Processes[0].Pagemap.Where(static run => run.Flags == PagemapFlags.Present).Select(static run => run.Range));
        Assert.Equal<byte>([8, 9, 20, 21], ReadPages());
        Assert.Equal(0UL, StackPointerPages.MakeLazy(after));
    }

    [Fact]
    public void Pages_that_are_in_the_images_and_lazy_too_stay_in_both()
    {
        _images.Pagemap(Entry(0, 2, flags: 6));
        WritePages(0, 1);

        Assert.Equal(0UL, StackPointerPages.MakeLazy(_images.Open()));
        Assert.Equal<byte>([0, 1], ReadPages());
    }

    [Fact]
    public void A_pages_file_of_another_length_is_refused()
    {
        _images.Pagemap(Entry(0, 2, flags: 4));
        WritePages(0);

        Assert.Contains("pages-1.img", Assert.Throws<ImageFormatException>(() => StackPointerPages.MakeLazy(_images.Open())).Message, StringComparison.Ordinal);
    }

    private void WritePages(params byte[] numbers) =>
        File.WriteAllBytes(PagesPath, [.. numbers.SelectMany(static number => Enumerable.Repeat(number, PageSize.Bytes))]);

    private IEnumerable<byte> ReadPages() => File.ReadAllBytes(PagesPath).Chunk(PageSize.Bytes).Select(static page => page.Distinct().Single());

    private string PagesPath => Path.Join(_images.Path, "pages-1.img");
}
