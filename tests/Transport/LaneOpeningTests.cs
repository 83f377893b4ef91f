using System.Net;
using System.Net.Sockets;
using PostCopy.Buffers;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Wire;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Transport;

public sealed class LaneOpeningTests : IDisposable
{
    private static readonly SessionToken Session = SessionToken.Create();

    private readonly PagePool _pool = new();
    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);

    public LaneOpeningTests()
    {
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _listener.Listen(16);
    }

    [Fact]
    public async Task Who_knows_the_token_gets_a_lane()
    {
        Task<LaneHello> accepted = AcceptAsync(Tokens.One, acknowledge: true);
        using SocketLane lane = await DialAsync(Tokens.One);
        LaneHello hello = await accepted.WaitAsync(Peer.Patience);
        Assert.Equal((LaneRole.Demand, Session, 1U), (hello.Role, hello.Session, hello.Epoch));
    }

    [Fact]
    public async Task Another_token_is_refused_and_both_sides_say_why()
    {
        Task<LaneHello> accepted = AcceptAsync(Tokens.One);
        ProtocolException dialler = await Assert.ThrowsAsync<ProtocolException>(() => DialAsync(Tokens.Another));
        ProtocolException listener = await Assert.ThrowsAsync<ProtocolException>(() => accepted.WaitAsync(Peer.Patience));
        Assert.Equal((WireErrorCode.Unauthorized, WireErrorCode.Unauthorized), (dialler.Code, listener.Code));
        Assert.Equal("the token is not the one this agent knows: copy the agent's token file to the source (mode 0600)", listener.Message);
        Assert.Equal("the peer says: " + listener.Message, dialler.Message);
    }

    [Fact]
    public async Task An_agent_that_does_not_know_the_token_gets_no_lane()
    {
        Task<ProtocolException> dialled = Assert.ThrowsAsync<ProtocolException>(() => DialAsync(Tokens.One));
        using Peer agent = await AcceptPeerAsync();
        agent.Send(Samples.Frame(FrameKind.Welcome, 0, new Welcome(1, 1, new byte[16]).ToPayload()));
        byte[] hello = agent.Expect(FrameKind.Hello);
        // It plays the dialler's own proof back.
        agent.Send(Samples.Frame(FrameKind.HelloAck, 0, hello[LaneHello.SignedBytes..]));
        ProtocolException e = await dialled.WaitAsync(Peer.Patience);
        Assert.Equal((WireErrorCode.Unauthorized, "whoever answers there does not know this host's token"), (e.Code, e.Message));
        agent.ExpectEnd();
    }

    [Fact]
    public async Task An_agent_of_another_version_is_refused()
    {
        Task<ProtocolException> dialled = Assert.ThrowsAsync<ProtocolException>(() => DialAsync(Tokens.One));
        using Peer agent = await AcceptPeerAsync();
        agent.Send(Samples.Frame(FrameKind.Welcome, 0, new Welcome(2, 9, new byte[16]).ToPayload()));
        ProtocolException e = await dialled.WaitAsync(Peer.Patience);
        Assert.Equal((WireErrorCode.Version, "the agent speaks protocol versions 2 to 9, this side version 1: bring both hosts to one release"), (e.Code, e.Message));
    }

    [Theory]
    [InlineData(0, 2, WireErrorCode.Version, "version 1")]
    [InlineData(2, 9, WireErrorCode.ProtocolViolation, "lane role")]
    [InlineData(5, 0x40, WireErrorCode.PageSize, "pages have 16384 bytes")]
    public async Task A_hello_that_does_not_fit_is_refused_with_its_reason(int at, byte value, object code, string reason)
    {
        Task<LaneHello> accepted = AcceptAsync(Tokens.One);
        using Peer source = Peer.Connect(_listener.LocalEndPoint!);
        Welcome welcome = Welcome.Parse(source.Expect(FrameKind.Welcome));
        source.Send(Peer.Hello(Tokens.One, welcome, LaneRole.Push, Session, hello => hello[at] = value));
        (WireErrorCode refused, string text) = source.ExpectRefusal();
        Assert.Equal((WireErrorCode)code, refused);
        Assert.Contains(reason, text);
        await Assert.ThrowsAsync<ProtocolException>(() => accepted.WaitAsync(Peer.Patience));
    }

    [Fact]
    public async Task A_changed_hello_is_refused_whatever_was_changed()
    {
        // Everything that is signed, behind the version and the role's shape, which are judged before.
        for (int at = 4; at < LaneHello.Bytes; at++)
        {
            Task<LaneHello> accepted = AcceptAsync(Tokens.One);
            using Peer source = Peer.Connect(_listener.LocalEndPoint!);
            byte[] hello = Peer.Hello(Tokens.One, Welcome.Parse(source.Expect(FrameKind.Welcome)), LaneRole.Push, Session);
            hello[FrameHeader.Bytes + at] ^= 1;
            source.Send(hello);
            Assert.Equal(WireErrorCode.Unauthorized, source.ExpectRefusal().Code);
            await Assert.ThrowsAsync<ProtocolException>(() => accepted.WaitAsync(Peer.Patience));
        }
    }

    [Fact]
    public async Task A_recorded_hello_is_worthless()
    {
        Task<LaneHello> first = AcceptAsync(Tokens.One, acknowledge: true);
        using Peer source = Peer.Connect(_listener.LocalEndPoint!);
        byte[] recorded = source.Open(Tokens.One, LaneRole.Control, Session);
        source.Expect(FrameKind.HelloAck);
        await first.WaitAsync(Peer.Patience);

        Task<LaneHello> second = AcceptAsync(Tokens.One);
        using Peer replay = Peer.Connect(_listener.LocalEndPoint!);
        replay.Expect(FrameKind.Welcome);
        replay.Send(recorded);
        Assert.Equal(WireErrorCode.Unauthorized, replay.ExpectRefusal().Code);
        await Assert.ThrowsAsync<ProtocolException>(() => second.WaitAsync(Peer.Patience));
    }

    [Fact]
    public async Task Whoever_has_proved_nothing_costs_no_more_than_one_small_frame()
    {
        (byte[] Sent, string Says)[] openings =
        [
            // Known kinds with limits of a MiB: refused by their header.
            (Samples.Header((ushort)FrameKind.Pages, 1 << 20), "a Pages frame came instead of Hello"),
            (Samples.Header((ushort)FrameKind.ImageChunk, 1 << 20), "a ImageChunk frame came instead of Hello"),
            (Samples.Header((ushort)FrameKind.Goodbye, 0), "a Goodbye frame came instead of Hello"),
            (Samples.Header((ushort)FrameKind.Hello, 513), "length 513 of a Hello frame is beyond its limit of 512"),
            (Samples.Header((ushort)FrameKind.Error, 1 << 20), "length 1048576 of a Error frame is beyond its limit of 512"),
            ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray(), "frame header: kind"),
        ];
        foreach ((byte[] sent, string says) in openings)
        {
            Task<LaneHello> accepted = AcceptAsync(Tokens.One);
            using Peer source = Peer.Connect(_listener.LocalEndPoint!);
            source.Expect(FrameKind.Welcome);
            source.Send(sent);
            Assert.Contains(says, source.ExpectRefusal().Text);
            ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => accepted.WaitAsync(Peer.Patience));
            Assert.Contains(says, e.Message);
            Assert.Equal(0, _pool.Rented);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(16)]
    [InlineData(91)]
    public async Task Half_a_hello_and_the_end_is_no_hello(int bytes)
    {
        Task<LaneHello> accepted = AcceptAsync(Tokens.One);
        using (Peer source = Peer.Connect(_listener.LocalEndPoint!))
        {
            source.Send(Peer.Hello(Tokens.One, Welcome.Parse(source.Expect(FrameKind.Welcome)), LaneRole.Push, Session)[..bytes]);
        }

        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => accepted.WaitAsync(Peer.Patience));
        Assert.Equal("opening a lane: the peer closed the connection, or took too long, before its Hello was complete", e.Message);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(50)]
    public async Task Whoever_stalls_is_dropped_at_the_deadline(int bytes)
    {
        Task<LaneHello> accepted = AcceptAsync(Tokens.One, deadline: TimeSpan.FromMilliseconds(200));
        using Peer source = Peer.Connect(_listener.LocalEndPoint!);
        source.Send(Peer.Hello(Tokens.One, Welcome.Parse(source.Expect(FrameKind.Welcome)), LaneRole.Push, Session)[..bytes]);
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => accepted.WaitAsync(Peer.Patience));
        Assert.Contains("took too long", e.Message);
        source.ExpectEnd();
    }

    [Fact]
    public async Task An_agent_that_stalls_is_left_at_the_deadline()
    {
        Task<ProtocolException> dialled = Assert.ThrowsAsync<ProtocolException>(() => DialAsync(Tokens.One, TimeSpan.FromMilliseconds(200)));
        using Peer agent = await AcceptPeerAsync();
        Assert.Contains("took too long", (await dialled.WaitAsync(Peer.Patience)).Message);
    }

    [Fact]
    public async Task Nobody_there_is_said_as_such()
    {
        EndPoint nobody = _listener.LocalEndPoint!;
        _listener.Dispose();
        SocketException e = await Assert.ThrowsAsync<SocketException>(
            () => SocketLaneTests.Start(() => LaneOpening.Dial([nobody], LaneRole.Control, Session, 1, Tokens.One, _pool)).WaitAsync(Peer.Patience));
        Assert.Equal(SocketError.ConnectionRefused, e.SocketErrorCode);
    }

    public void Dispose()
    {
        _listener.Dispose();
        Assert.Equal(0, _pool.Rented);
        _pool.Dispose();
    }

    private Task<SocketLane> DialAsync(AgentToken token, TimeSpan? deadline = null) => SocketLaneTests
        .Start(() => LaneOpening.Dial([_listener.LocalEndPoint!], LaneRole.Demand, Session, epoch: 1, token, _pool, deadline: deadline))
        .WaitAsync(Peer.Patience);

    /// <summary>One connection, taken as an agent takes it.</summary>
    private Task<LaneHello> AcceptAsync(AgentToken token, bool acknowledge = false, TimeSpan? deadline = null) => SocketLaneTests.Start(() =>
    {
        using SocketLane lane = new(_listener.Accept(), _pool);
        try
        {
            (LaneHello hello, byte[] proof) = LaneOpening.Accept(lane, token, deadline);
            if (acknowledge)
            {
                LaneOpening.Acknowledge(lane, proof);
            }

            return hello;
        }
        catch (ProtocolException e)
        {
            LaneOpening.Refuse(lane, e);
            throw;
        }
    });

    private async Task<Peer> AcceptPeerAsync()
    {
        Socket socket = await SocketLaneTests.Start(_listener.Accept).WaitAsync(Peer.Patience);
        socket.ReceiveTimeout = (int)Peer.Patience.TotalMilliseconds;
        return new Peer(socket);
    }
}
