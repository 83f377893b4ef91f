using System.Net;
using System.Net.Sockets;
using PostCopy.Buffers;
using PostCopy.Transport;

namespace PostCopy.Tests.Testing;

/// <summary>Two lanes, or a lane and a bare socket, over a real loopback connection.</summary>
internal sealed class LanePair : IDisposable
{
    private LanePair(PagePool pool, Socket ours, Socket theirs)
    {
        Pool = pool;
        Theirs = theirs;
        Lane = new SocketLane(ours, pool);
    }

    public PagePool Pool { get; }

    /// <summary>The lane under test.</summary>
    public SocketLane Lane { get; }

    /// <summary>The socket at its other end.</summary>
    public Socket Theirs { get; }

    public static LanePair Open(PagePool? pool = null)
    {
        (Socket ours, Socket theirs) = Sockets();
        return new LanePair(pool ?? new PagePool(), ours, theirs);
    }

    /// <summary>Two connected sockets; the second one's reads fail after <see cref="Peer.Patience"/>.</summary>
    public static (Socket Ours, Socket Theirs) Sockets()
    {
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        Socket ours = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        ours.Connect(listener.LocalEndPoint!);
        Socket theirs = listener.Accept();
        theirs.NoDelay = true;
        theirs.ReceiveTimeout = (int)Peer.Patience.TotalMilliseconds;
        return (ours, theirs);
    }

    public void Dispose()
    {
        Theirs.Dispose();
        Lane.Dispose();
        Assert.Equal(0, Pool.Rented);
        Pool.Dispose();
    }
}
