using Google.Protobuf;
using PostCopy.Control.Messages;
using PostCopy.Restore;
using PostCopy.Wire;

namespace PostCopy.Tests.Restore;

public sealed class ImageInboxTests : IDisposable
{
    private readonly DirectoryInfo _outer = Directory.CreateTempSubdirectory("postcopy-wire-inbox-");
    private readonly string _directory;

    public ImageInboxTests() => _directory = _outer.CreateSubdirectory("images").FullName;

    [Fact]
    public void Files_arrive_in_pieces_and_readable_to_root_alone()
    {
        using ImageInbox inbox = new(_directory);
        inbox.Write(Chunk("core-1.img", "one"));
        inbox.Write(Chunk("core-1.img", "two"));
        inbox.Write(Chunk("empty.img", ""));
        inbox.Complete(new ImagesDone { Files = 2, Bytes = 6 });
        Assert.Equal("onetwo", File.ReadAllText(Path.Combine(_directory, "core-1.img")));
        Assert.Equal(0, new FileInfo(Path.Combine(_directory, "empty.img")).Length);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(_directory, "core-1.img")));
    }

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData(".hidden")]
    [InlineData("../escaped.img")]
    [InlineData("/etc/escaped.img")]
    [InlineData("a/b.img")]
    [InlineData("a\\b.img")]
    [InlineData("nul\0.img")]
    [InlineData("new\nline.img")]
    [InlineData("ä.img")]
    public void Names_that_no_image_has_are_refused(string name)
    {
        using ImageInbox inbox = new(_directory);
        ProtocolException e = Assert.Throws<ProtocolException>(() => inbox.Write(Chunk(name, "x")));
        Assert.Contains($"a name of {name.Length} characters", e.Message);
        Assert.Single(_outer.GetFileSystemInfos("*", SearchOption.AllDirectories));
    }

    [Fact]
    public void A_name_may_be_as_long_as_a_file_systems_and_no_longer()
    {
        using ImageInbox inbox = new(_directory);
        inbox.Write(Chunk(new string('a', 255), "x"));
        Assert.Throws<ProtocolException>(() => inbox.Write(Chunk(new string('a', 256), "x")));
    }

    [Fact]
    public void A_name_comes_once()
    {
        using ImageInbox inbox = new(_directory);
        inbox.Write(Chunk("a.img", "x"));
        inbox.Write(Chunk("b.img", "x"));
        Assert.Contains("'a.img' comes twice", Assert.Throws<ProtocolException>(() => inbox.Write(Chunk("a.img", "y"))).Message);
        Assert.Equal("x", File.ReadAllText(Path.Combine(_directory, "a.img")));
    }

    [Theory]
    [InlineData(2U, 1UL)]
    [InlineData(1U, 2UL)]
    public void Sums_that_do_not_fit_are_refused(uint files, ulong bytes)
    {
        using ImageInbox inbox = new(_directory);
        inbox.Write(Chunk("a.img", "x"));
        ProtocolException e = Assert.Throws<ProtocolException>(() => inbox.Complete(new ImagesDone { Files = files, Bytes = bytes }));
        Assert.Equal($"images done: {files} files with {bytes} bytes were sent, 1 with 1 arrived", e.Message);
    }

    public void Dispose() => _outer.Delete(recursive: true);

    private static ImageChunk Chunk(string name, string data) => new() { Name = name, Data = ByteString.CopyFromUtf8(data) };
}
