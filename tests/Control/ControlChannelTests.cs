using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Linux;
using PostCopy.Tests.TestBed;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Transport;
using PostCopy.Tests.Wire;
using PostCopy.Wire;

namespace PostCopy.Tests.Control;

public sealed class ControlChannelTests
{
    private static readonly TimeSpan Seldom = TimeSpan.FromHours(1);

    [Fact]
    public async Task Messages_arrive_as_they_were_sent()
    {
        using Ends ends = new();
        ends.Ours.Send(FrameKind.Prepare, new Prepare { ContainerId = "web", MemoryBytes = ulong.MaxValue });
        ends.Ours.Send(FrameKind.Ask);
        Prepare prepare = await ends.Theirs.ReceiveAsync<Prepare>(CancellationToken.None).AsTask().WaitAsync(Peer.Patience);
        Assert.Equal(("web", ulong.MaxValue), (prepare.ContainerId, prepare.MemoryBytes));
        Assert.Equal(FrameKind.Ask, (await ends.Theirs.ReceiveAsync(CancellationToken.None)).Kind);
    }

    [Fact]
    public async Task The_clocks_offset_is_known_to_the_best_round_trip()
    {
        using Ends ends = new(heartbeatEvery: TimeSpan.FromMilliseconds(5));
        // One host, one clock: the truth is 0.
        await Condition.WaitAsync(() => ends.Ours.Clock.ErrorUs < 50_000 && ends.Theirs.Clock.ErrorUs < 50_000, Peer.Patience, "heartbeats are answered");
        Assert.InRange(ends.Ours.Clock.ToOurUs(1_000_000) - 1_000_000, -ends.Ours.Clock.ErrorUs - 1, ends.Ours.Clock.ErrorUs + 1);
    }

    [Fact]
    public void A_clock_that_is_ahead_is_found_from_the_quickest_answer()
    {
        ClockOffset clock = new();
        Assert.Equal(double.PositiveInfinity, clock.ErrorUs);
        clock.Observe(1000, 501_000, 3000);
        clock.Observe(5000, 505_050, 5100);
        clock.Observe(9000, 100, 99_000);
        clock.Observe(9000, 100, 8000);
        Assert.Equal((50.0, 5050.0), (clock.ErrorUs, clock.ToOurUs(505_050)));
    }

    [Fact]
    public void A_heartbeat_is_answered_with_its_own_time_and_ours()
    {
        using LanePair pair = LanePair.Open();
        using Peer peer = new(pair.Theirs);
        using ControlChannel channel = new(pair.Lane, "test", Seldom);
        long before = WallClock.NowUs;
        peer.Send(Samples.Frame(FrameKind.Heartbeat, 0, BitConverter.GetBytes(12345L)));
        (FrameKind Kind, ulong Id, byte[] Payload) frame;
        do
        {
            frame = peer.Receive()!.Value;
        }
        while (frame.Kind != FrameKind.HeartbeatAck);
        Assert.Equal(12345, BitConverter.ToInt64(frame.Payload));
        Assert.InRange(BitConverter.ToInt64(frame.Payload, 8), before, WallClock.NowUs);
    }

    [Fact]
    public async Task A_silent_peer_is_given_up()
    {
        using LanePair pair = LanePair.Open();
        using ControlChannel channel = new(pair.Lane, "test", TimeSpan.FromMilliseconds(10), TimeSpan.FromMilliseconds(300));
        Assert.Equal("nothing was heard from the peer for 0.3 s", await EndOfAsync(channel));
        Assert.Equal("nothing was heard from the peer for 0.3 s", Assert.Throws<ControlEndedException>(() => channel.Send(FrameKind.Ask)).Message);
    }

    [Fact]
    public async Task Nobody_is_called_silent_while_this_side_does_not_take_what_came()
    {
        using LanePair pair = LanePair.Open();
        using Peer peer = new(pair.Theirs);
        TimeSpan limit = TimeSpan.FromMilliseconds(300);
        using ControlChannel channel = new(pair.Lane, "test", TimeSpan.FromMilliseconds(10), limit);
        const int Sent = 40;
        for (int i = 0; i < Sent; i++)
        {
            peer.Send(Samples.Frame(FrameKind.Ask));
        }

        // More than the queue holds: the channel's thread waits for us. Its heartbeats, one each 10 ms, are the clock here.
        for (int beats = 0; beats < 60;)
        {
            beats += peer.Receive()!.Value.Kind == FrameKind.Heartbeat ? 1 : 0;
        }

        for (int i = 0; i < Sent; i++)
        {
            Assert.Equal(FrameKind.Ask, (await channel.ReceiveAsync(CancellationToken.None).AsTask().WaitAsync(Peer.Patience)).Kind);
        }
    }

    [Fact]
    public async Task A_full_queue_holds_the_sender_and_loses_nothing()
    {
        using Ends ends = new();
        const int Messages = 300;
        byte[] data = new byte[ProtocolLimits.ImageChunkBytes];
        int sent = 0;
        Task sender = SocketLaneTests.Start(() =>
        {
            for (int i = 0; i < Messages; i++)
            {
                ends.Ours.Send(FrameKind.ImageChunk, new ImageChunk { Name = $"{i}", Data = Google.Protobuf.ByteString.CopyFrom(data) });
                Interlocked.Increment(ref sent);
            }
        });
        int still = 0;
        int last = 0;
        await Condition.WaitAsync(
            () =>
            {
                int now = Volatile.Read(ref sent);
                still = now == last && now > 0 ? still + 1 : 0;
                last = now;
                return still > 100;
            },
            Peer.Patience,
            "the sender is held");
        Assert.InRange(last, 32, Messages - 1);
        for (int i = 0; i < Messages; i++)
        {
            ImageChunk chunk = await ends.Theirs.ReceiveAsync<ImageChunk>(CancellationToken.None).AsTask().WaitAsync(Peer.Patience);
            Assert.Equal($"{i}", chunk.Name);
        }

        await sender.WaitAsync(Peer.Patience);
    }

    [Fact]
    public async Task The_first_reason_is_the_one_that_counts()
    {
        using LanePair pair = LanePair.Open();
        using Peer peer = new(pair.Theirs);
        using ControlChannel channel = new(pair.Lane, "test", Seldom);
        channel.Reject(new ProtocolException(WireErrorCode.Internal, "the first"));
        channel.Reject(new ProtocolException(WireErrorCode.Internal, "the second"));
        channel.Close();
        Assert.Equal("the first", await EndOfAsync(channel));
        Assert.Equal("the first", Assert.Throws<ControlEndedException>(() => channel.Send(FrameKind.Ask)).Message);
        Assert.Equal((WireErrorCode.Internal, "the first"), peer.ExpectRefusal());
    }

    [Fact]
    public async Task An_error_of_the_peer_is_what_ends_the_channel()
    {
        using LanePair pair = LanePair.Open();
        using Peer peer = new(pair.Theirs);
        using ControlChannel channel = new(pair.Lane, "test", Seldom);
        peer.Send([.. Samples.Frame(FrameKind.Ask), .. Samples.Error(WireErrorCode.Busy, "not today")]);
        Assert.Equal(FrameKind.Ask, (await channel.ReceiveAsync(CancellationToken.None).AsTask().WaitAsync(Peer.Patience)).Kind);
        Assert.Equal("the peer says: not today", await EndOfAsync(channel));
        while (peer.Receive() is { } frame)
        {
            Assert.Equal(FrameKind.Heartbeat, frame.Kind);
        }
    }

    public static TheoryData<string, byte[], string> Garbage => new()
    {
        { "no protobuf", Samples.Frame(FrameKind.Prepare, 0, 0xff, 0xff), "the body of a Prepare frame is malformed" },
        { "a length beyond its message", Samples.Frame(FrameKind.ImageChunk, 0, 0x0a, 0x7f), "the body of a ImageChunk frame is malformed" },
        { "pages", Samples.Pages(1, 1, 0x1000, true), "a Pages frame has no place here" },
        { "a hello", Samples.Frame(FrameKind.Hello), "a Hello frame has no place here" },
        { "half a heartbeat", Samples.Frame(FrameKind.Heartbeat, 0, 1, 2, 3, 4), "heartbeat: length 4 is not 8" },
        { "half an answer", Samples.Frame(FrameKind.HeartbeatAck, 0, 1, 2, 3, 4, 5, 6, 7, 8), "heartbeat acknowledgement: length 8 is not 16" },
        { "too much", Samples.Header((ushort)FrameKind.Prepare, (1 << 20) + 1), "length 1048577 of a Prepare frame is beyond its limit" },
        { "noise", Samples.Header(0x4141, 0x41414141), "kind 16705" },
    };

    [Theory]
    [MemberData(nameof(Garbage))]
    public async Task Garbage_is_answered_with_one_error(string what, byte[] bytes, string says)
    {
        Assert.NotEmpty(what);
        using LanePair pair = LanePair.Open();
        using Peer peer = new(pair.Theirs);
        using ControlChannel channel = new(pair.Lane, "test", Seldom);
        peer.Send(bytes);
        Assert.Contains(says, peer.ExpectRefusal().Text);
        Assert.Contains(says, await EndOfAsync(channel));
    }

    [Fact]
    public async Task Goodbye_loses_nothing_that_was_sent_before()
    {
        for (int round = 0; round < 20; round++)
        {
            using Ends ends = new();
            ends.Ours.Send(FrameKind.NeverRan, new NeverRan { Errors = { "why" } });
            ends.Ours.Close();
            ends.Ours.Dispose();
            NeverRan last = await ends.Theirs.ReceiveAsync<NeverRan>(CancellationToken.None).AsTask().WaitAsync(Peer.Patience);
            Assert.Equal("why", Assert.Single(last.Errors));
            Assert.Equal("the peer closed the session", await EndOfAsync(ends.Theirs));
        }
    }

    [Fact]
    public async Task A_peer_that_is_gone_before_the_channel_begins_ends_it()
    {
        for (int round = 0; round < 50; round++)
        {
            using LanePair pair = LanePair.Open();
            pair.Theirs.Close(timeout: 0);
            using ControlChannel channel = new(pair.Lane, "test");
            Assert.NotEmpty(await EndOfAsync(channel));
        }
    }

    [Fact]
    public void A_message_beyond_the_limit_is_our_own_mistake()
    {
        using Ends ends = new();
        Prepare large = new() { CriuConfig = new string('x', ProtocolLimits.MaxControlPayloadBytes) };
        Assert.Throws<ArgumentException>(() => ends.Ours.Send(FrameKind.Prepare, large));
    }

    private static async Task<string> EndOfAsync(ControlChannel channel) =>
        (await Assert.ThrowsAsync<ControlEndedException>(() => channel.ReceiveAsync(CancellationToken.None).AsTask().WaitAsync(Peer.Patience))).Message;

    private sealed class Ends : IDisposable
    {
        private readonly LanePair _pair = LanePair.Open();

        public Ends(TimeSpan? heartbeatEvery = null)
        {
            Ours = new ControlChannel(_pair.Lane, "ours", heartbeatEvery);
            Theirs = new ControlChannel(new PostCopy.Transport.SocketLane(_pair.Theirs, _pair.Pool), "theirs", heartbeatEvery);
        }

        public ControlChannel Ours { get; }

        public ControlChannel Theirs { get; }

        public void Dispose()
        {
            Ours.Dispose();
            Theirs.Dispose();
            _pair.Dispose();
        }
    }
}
