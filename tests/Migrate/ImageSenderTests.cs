using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Images;
using PostCopy.Migrate;
using PostCopy.Tests.Testing;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Migrate;

public sealed class ImageSenderTests : IDisposable
{
    private const string Early = "descriptors.json";

    private readonly string _directory = Directory.CreateTempSubdirectory("postcopy-images-").FullName;
    private readonly LanePair _pair = LanePair.Open();
    private readonly ControlChannel _ours;
    private readonly ControlChannel _theirs;
    private readonly ImageSender _sender;

    public ImageSenderTests()
    {
        _ours = new ControlChannel(_pair.Lane, "ours");
        _theirs = new ControlChannel(new SocketLane(_pair.Theirs, _pair.Pool), "theirs");
        _sender = new ImageSender(_ours);
    }

    [Fact]
    public async Task Every_file_travels_once_whole_and_those_that_are_known_before_first()
    {
        byte[] large = new byte[(300 << 10) + 7];
        new Random(1).NextBytes(large);
        Write("core-1.img", large);
        Write("empty.img", []);
        Write(Early, "[]"u8);
        _sender.SendEarly(new Dictionary<string, byte[]> { [Early] = "[]"u8.ToArray() });
        _sender.SendAll(_directory, Task.CompletedTask, CancellationToken.None);

        Dictionary<string, List<byte>> received = [];
        List<string> order = [];
        while (true)
        {
            ControlMessage message = await _theirs.ReceiveAsync(CancellationToken.None).AsTask().WaitAsync(Peer.Patience);
            if (message.Kind == FrameKind.ImagesDone)
            {
                Assert.Equal((3U, (ulong)large.Length + 2), (message.As<ImagesDone>().Files, message.As<ImagesDone>().Bytes));
                break;
            }

            ImageChunk chunk = message.As<ImageChunk>();
            Assert.InRange(chunk.Data.Length, 0, ProtocolLimits.ImageChunkBytes);
            if (received.TryAdd(chunk.Name, []))
            {
                order.Add(chunk.Name);
            }

            received[chunk.Name].AddRange(chunk.Data);
        }

        Assert.Equal([Early, "core-1.img", "empty.img"], order);
        Assert.True(large.AsSpan().SequenceEqual(received["core-1.img"].ToArray()));
        Assert.Empty(received["empty.img"]);
    }

    [Fact]
    public async Task Page_maps_and_pages_travel_last_and_as_they_are_in_the_end()
    {
        Write("pagemap-1.img", "before"u8);
        Write("pages-1.img", "before"u8);
        Write("pstree.img", "tree"u8);
        TaskCompletionSource final = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task sending = Task.Run(() => _sender.SendAll(_directory, final.Task, CancellationToken.None));
        Assert.Equal(("pstree.img", "tree"), await NextAsync());
        Write("pagemap-1.img", "after"u8);
        Write("pages-1.img", ""u8);
        final.SetResult();
        Assert.Equal(("pagemap-1.img", "after"), await NextAsync());
        Assert.Equal(("pages-1.img", ""), await NextAsync());
        await sending.WaitAsync(Peer.Patience);

        async Task<(string Name, string Content)> NextAsync()
        {
            ImageChunk chunk = (await _theirs.ReceiveAsync(CancellationToken.None).AsTask().WaitAsync(Peer.Patience)).As<ImageChunk>();
            return (chunk.Name, chunk.Data.ToStringUtf8());
        }
    }

    [Fact]
    public void Page_maps_that_cannot_be_read_are_not_sent()
    {
        Write("pagemap-1.img", "x"u8);
        Assert.Throws<ImageFormatException>(() => _sender.SendAll(_directory, Task.FromException(new ImageFormatException(_directory, "no")), CancellationToken.None));
    }

    [Theory]
    [InlineData("[1]")]
    [InlineData(null)]
    public void What_was_sent_early_and_is_not_so_is_an_error(string? written)
    {
        if (written is not null)
        {
            File.WriteAllText(Path.Combine(_directory, Early), written);
        }

        _sender.SendEarly(new Dictionary<string, byte[]> { [Early] = "[]"u8.ToArray() });
        Assert.Contains(Early, Assert.Throws<MigrationException>(() => _sender.SendAll(_directory, Task.CompletedTask, CancellationToken.None)).Message, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        _ours.Dispose();
        _theirs.Dispose();
        _pair.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private void Write(string name, ReadOnlySpan<byte> content) => File.WriteAllBytes(Path.Combine(_directory, name), content.ToArray());
}
