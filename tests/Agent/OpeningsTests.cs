using System.Net;
using System.Net.Sockets;
using PostCopy.Agent;
using PostCopy.Buffers;
using PostCopy.Transport;

namespace PostCopy.Tests.Agent;

/// <summary>Who has to go when more connections are opening than may.</summary>
public sealed class OpeningsTests : IDisposable
{
    private readonly PagePool _pool = new();
    private readonly List<IDisposable> _all = [];

    [Fact]
    public void Whoever_connects_all_the_time_takes_the_place_of_nobody_else()
    {
        Openings openings = new(most: 4);
        (SocketLane quiet, Socket quietPeer) = Connect("127.0.0.2");
        openings.Enter(quiet);
        List<Socket> crowd = [];
        for (int i = 0; i < 20; i++)
        {
            (SocketLane lane, Socket peer) = Connect("127.0.0.3");
            openings.Enter(lane);
            crowd.Add(peer);
        }

        Assert.False(IsDropped(quietPeer));
        Assert.All(crowd[..^3], static peer => Assert.True(IsDropped(peer)));
        Assert.All(crowd[^3..], static peer => Assert.False(IsDropped(peer)));
    }

    [Fact]
    public void Of_as_many_the_oldest_goes()
    {
        Openings openings = new(most: 2);
        (SocketLane first, Socket firstPeer) = Connect("127.0.0.2");
        (SocketLane second, Socket secondPeer) = Connect("127.0.0.3");
        (SocketLane third, _) = Connect("127.0.0.4");
        openings.Enter(first);
        LinkedListNode<SocketLane> place = openings.Enter(second);
        openings.Enter(third);
        Assert.True(IsDropped(firstPeer));
        openings.Leave(place);
        openings.Enter(Connect("127.0.0.5").Lane);
        Assert.False(IsDropped(secondPeer));
    }

    [Fact]
    public void Aborting_a_lane_that_somebody_has_disposed_of_does_nothing()
    {
        (Socket ours, Socket theirs) = PostCopy.Tests.Testing.LanePair.Sockets();
        using SocketLane lane = new(ours, _pool);
        // As a receiving thread does at its end, between another's look at the lane and its word.
        ours.Dispose();
        lane.Abort();
        theirs.Dispose();
    }

    public void Dispose()
    {
        _all.ForEach(static one => one.Dispose());
        _pool.Dispose();
    }

    private static bool IsDropped(Socket peer) => peer.Poll(0, SelectMode.SelectRead) && peer.Available == 0;

    private (SocketLane Lane, Socket Peer) Connect(string from)
    {
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        Socket peer = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        peer.Bind(new IPEndPoint(IPAddress.Parse(from), 0));
        peer.Connect(listener.LocalEndPoint!);
        SocketLane lane = new(listener.Accept(), _pool);
        _all.AddRange([lane, peer]);
        return (lane, peer);
    }
}
