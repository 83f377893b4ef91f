using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Tests.Images;
using static PostCopy.Tests.Images.SyntheticImages;

namespace PostCopy.Tests.DropIn;

public sealed class ImagePageSourceTests : IDisposable
{
    private static readonly ImagePid Pid = new(1);
    private readonly SyntheticImages _images = new();
    private readonly SyntheticImages _parent = new();
    private readonly SyntheticImages _grandparent = new();

    public void Dispose()
    {
        _images.Dispose();
        _parent.Dispose();
        _grandparent.Dispose();
    }

    [Fact]
    public void Pages_are_found_here_in_the_parent_and_in_its_parent()
    {
        _images.Pagemap(Entry(0, 2, flags: 6), Entry(2, 3, flags: 1), Entry(5, 1, flags: 4));
        Pages(_images, 10, 11, 15);
        // The parent's entries are split elsewhere, and begin and end elsewhere.
        _parent.Pagemap(OldEntry(1, 2, flags: 4), Entry(3, 1, flags: 1), Entry(4, 2, flags: 4));
        Pages(_parent, 21, 22, 24, 25);
        _grandparent.Pagemap(Entry(3, 1, flags: 4));
        Pages(_grandparent, 33);
        Link(_images, _parent);
        Link(_parent, _grandparent);

        using ImagePageSource source = new(_images.Path);
        Assert.Equal([10, 11, 22, 33, 24, 15], Read(source, 0, 6));
        Assert.Equal([33, 24], Read(source, 3, 2));
    }

    [Fact]
    public void A_page_that_is_not_listed_or_not_here_ends_the_read()
    {
        _images.Pagemap(Entry(0, 2, flags: 6), Entry(2, 1, flags: 2), Entry(4, 1, flags: 4));
        Pages(_images, 10, 11, 14);
        using ImagePageSource source = new(_images.Path);
        Assert.Equal([10, 11], Read(source, 0, 5));
        Assert.Empty(Read(source, 2, 1));
        Assert.Empty(Read(source, 3, 1));
        Assert.Equal([14], Read(source, 4, 9));
        Assert.Empty(Read(source, 1000, 1));
    }

    [Fact]
    public void A_pages_file_that_is_too_short_gives_whole_pages_only()
    {
        _images.Pagemap(Entry(0, 3, flags: 6));
        Pages(_images, 10, 11);
        using (FileStream file = File.Open(Path.Join(_images.Path, "pages-1.img"), FileMode.Append))
        {
            file.Write(new byte[100]);
        }

        using ImagePageSource source = new(_images.Path);
        Assert.Equal([10, 11], Read(source, 0, 3));
    }

    [Fact]
    public void A_missing_parent_and_an_unknown_process_are_named()
    {
        _images.Pagemap(Entry(0, 1, flags: 1));
        using ImagePageSource source = new(_images.Path);
        Assert.Contains("parent", Assert.Throws<PageSourceException>(() => Read(source, 0, 1)).Message, StringComparison.Ordinal);
        Assert.Throws<PageSourceException>(() => source.Read(new ImagePid(9), At(0), new byte[PageSize.Bytes]));
    }

    [Fact]
    public void A_chain_that_comes_back_to_itself_ends()
    {
        _images.Pagemap(Entry(0, 1, flags: 1));
        Link(_images, _images);
        using ImagePageSource source = new(_images.Path);
        Assert.ThrowsAny<IOException>(() => Read(source, 0, 1));
    }

    private static void Pages(SyntheticImages images, params byte[] values)
    {
        using FileStream file = File.Create(Path.Join(images.Path, "pages-1.img"));
        foreach (byte value in values)
        {
            byte[] page = new byte[PageSize.Bytes];
            Array.Fill(page, value);
            file.Write(page);
        }
    }

    private static void Link(SyntheticImages images, SyntheticImages parent) => File.CreateSymbolicLink(Path.Join(images.Path, "parent"), parent.Path);

    /// <summary>The value that fills each page read.</summary>
    private static int[] Read(ImagePageSource source, ulong page, int pages)
    {
        byte[] bytes = new byte[pages * PageSize.Bytes];
        int read = source.Read(Pid, At(page), bytes);
        Assert.Equal(0, read % PageSize.Bytes);
        byte[][] all = [.. bytes.AsSpan(0, read).ToArray().Chunk(PageSize.Bytes)];
        Assert.All(all, static one => Assert.Single(one.Distinct()));
        return [.. all.Select(static one => (int)one[0])];
    }
}
