using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.CriuServe;
using PostCopy.CriuWire;
using PostCopy.Tests.Images;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>Connections on which nothing comes, or nothing goes.</summary>
[Collection(RealImagesCollection.Name)]
public sealed class MuteClientTests(RealImages images)
{
    private const int IPPROTO_TCP = 6;
    private const int TCP_USER_TIMEOUT = 18;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [SkippableFact]
    public async Task Who_asks_for_nothing_is_reset()
    {
        Skip.If(images.SkipReason is not null, images.SkipReason);
        CriuPageServer server = new(
            new CriuPageServerOptions { ImagesDirectory = images.Plain, TimeToFirstRequest = TimeSpan.FromMilliseconds(200) }, NullLogger<CriuPageServer>.Instance);
        using CancellationTokenSource stop = new();
        Task<bool> serving = Task.Run(() => server.RunAsync(stop.Token));
        await Condition.WaitAsync(() => server.LocalEndPoint is not null || serving.IsCompleted, Patience, "the server");
        using TcpClient mute = new();
        await mute.ConnectAsync(server.LocalEndPoint!);
        // Part of a frame is no request.
        await mute.GetStream().WriteAsync(new byte[10]);
        await Assert.ThrowsAsync<IOException>(() => mute.GetStream().ReadAsync(new byte[1]).AsTask().WaitAsync(Patience));
        await stop.CancelAsync();
        Assert.True(await serving.WaitAsync(Patience));
    }

    /// <summary>A connection is not given up because its peer has no room for pages for a while (tcp(7)).</summary>
    [Fact]
    public void No_time_is_set_for_what_a_peer_does_not_take()
    {
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        CriuSocket.Tune(socket);
        byte[] value = new byte[sizeof(int)];
        Assert.Equal(sizeof(int), socket.GetRawSocketOption(IPPROTO_TCP, TCP_USER_TIMEOUT, value));
        Assert.Equal(0, BitConverter.ToInt32(value));
        Assert.Equal(1, (int)socket.GetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive)!);
    }
}
