using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;
using Mono.Unix.Native;
using PostCopy.CriuServe;
using PostCopy.CriuWire;
using PostCopy.Images;
using PostCopy.Memory;
using PostCopy.Tests.Images;

namespace PostCopy.Tests.DropIn;

/// <summary><c>--ps-socket</c> in-process: the one client that a page server was given, and sockets that would not be safe.</summary>
[Collection(RealImagesCollection.Name)]
public sealed class InheritedSocketTests(RealImages images)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [SkippableFact]
    public async Task A_page_server_serves_the_client_it_was_given_and_ends()
    {
        Skip.If(images.SkipReason is not null, images.SkipReason);
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        using CriuPageConnection client = CriuPageConnection.Connect([(IPEndPoint)listener.LocalEndpoint], CriuFrameFormat.Since42, secure: null);
        using Socket accepted = await listener.AcceptSocketAsync();
        CriuPageServer server = new(new CriuPageServerOptions { ImagesDirectory = images.Plain, ClientDescriptor = Duplicate(accepted) }, NullLogger<CriuPageServer>.Instance);
        Task<bool> serving = Task.Run(() => server.RunAsync(CancellationToken.None));

        (ImagePid pid, IReadOnlyList<PageRange> owed) = OwedMemory.From(ImageDirectory.Open(images.Plain)).Ranges[0];
        PageRange page = new(owed[0].Start, 1);
        client.SendGet(pid, page);
        _ = client.ReceiveWord();
        Assert.Equal(1, client.ReceiveAnswer(pid, page));
        client.ReceivePages(new byte[PageSize.Bytes]);
        client.SendClose();
        Assert.Equal(0, client.ReceiveWord());
        accepted.Close();
        client.AwaitEnd();
        Assert.True(await serving.WaitAsync(Patience));
        Assert.Null(server.LocalEndPoint);
    }

    [Fact]
    public void Only_a_connected_stream_socket_is_taken_and_towards_a_dump_only_tcp()
    {
        using Socket alone = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        Refused("not a connected stream socket", Duplicate(alone), mustBeTcp: false);
        using SafeFileHandle file = File.OpenHandle("/dev/null");
        Refused("--ps-socket", Duplicate(file), mustBeTcp: false);

        string path = Path.Combine(Path.GetTempPath(), $"postcopy-{Guid.NewGuid():N}.sock");
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen();
        using Socket local = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        local.Connect(new UnixDomainSocketEndPoint(path));
        File.Delete(path);
        Refused("take our death for success", Duplicate(local), mustBeTcp: true);
        using Socket taken = CriuSocket.Inherit(Duplicate(local), mustBeTcp: false);
        CriuSocket.Tune(taken);
    }

    private static void Refused(string reason, int descriptor, bool mustBeTcp) =>
        Assert.Contains(reason, Assert.Throws<IOException>(() => CriuSocket.Inherit(descriptor, mustBeTcp)).Message, StringComparison.Ordinal);

    private static int Duplicate(System.Runtime.InteropServices.SafeHandle handle)
    {
        int duplicate = Syscall.dup((int)handle.DangerousGetHandle());
        // FD_CLOEXEC: nothing that another test starts meanwhile is to have it.
        Assert.Equal(0, Syscall.fcntl(duplicate, FcntlCommand.F_SETFD, 1));
        return duplicate;
    }

    private static int Duplicate(Socket socket) => Duplicate(socket.SafeHandle);
}
