using System.Buffers;
using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.Buffers;
using PostCopy.Faults;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Restore;
using PostCopy.Serve;
using PostCopy.Tests.Faults;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Transport;
using PostCopy.Tests.Wire;
using PostCopy.Transport;
using PostCopy.Userfault;
using PostCopy.Wire;

namespace PostCopy.Tests.Restore;

public sealed class PageReceiverTests(FaultingProgram program) : IClassFixture<FaultingProgram>
{
    private static readonly ImagePid Pid = new(7);

    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_whole_memory_moves_over_real_lanes_while_its_owner_reads_it(bool checksums)
    {
        using FaultingTask task = new(program, "random", pages: 8192, owedEnd: 8000, threads: 3);
        List<PageRange> owed = Pattern.OwedRanges(task.Start, 8000);
        PushPlan plan = new(new UnsentPages([new(Pid, owed)]), new SequentialPolicy());
        PageServerSession server = new(new PatternPages(task.Start), plan, checksums);
        using PagePool pool = new();
        (SocketLane Source, SocketLane Destination) demand = Lanes(pool);
        (SocketLane Source, SocketLane Destination) push = Lanes(pool);
        DemandLane requests = new();
        using LazyMemory memory = new([new(Pid, owed)], requests, new NoKeeper(), NullLogger.Instance);
        memory.Add(Pid, task.Uffd);
        memory.RestoreFinished();
        requests.Attach(demand.Destination);
        Task[] loops =
        [
            Loop(() => server.ServeDemandAsync(demand.Source, CancellationToken.None)),
            Loop(() => server.PushAsync(push.Source.Output, CancellationToken.None)),
            Loop(() => server.ReadAcknowledgementsAsync(push.Source.Input, CancellationToken.None)),
            SocketLaneTests.Start(() => new PageReceiver(demand.Destination, memory, checksums).ReceiveAnswers(requests)),
            SocketLaneTests.Start(() => new PageReceiver(push.Destination, memory, checksums).ReceivePush()),
        ];

        task.Go();
        task.Expect("done");
        await memory.Drained.WaitAsync(Peer.Patience);
        await TestBed.Condition.WaitAsync(() => loops[1].IsCompleted && server.Acknowledged > 0, Peer.Patience, "the push is done and acknowledged");
        memory.Close();
        requests.Detach();
        foreach (SocketLane lane in (SocketLane[])[demand.Source, push.Source, demand.Destination, push.Destination])
        {
            lane.Abort();
        }

        await Task.WhenAll(loops).WaitAsync(Peer.Patience);
        foreach (SocketLane lane in (SocketLane[])[demand.Source, push.Source, demand.Destination, push.Destination])
        {
            lane.Dispose();
        }

        Assert.Equal(0, pool.Rented);
        task.Go();
        task.Expect("ok");
        task.ExpectExit();
    }

    [Fact]
    public async Task Push_frames_are_acknowledged_every_16_and_at_the_end()
    {
        using Receiving receiving = new();
        for (ulong id = 1; id <= 33; id++)
        {
            receiving.Peer.Send(Samples.Pages(id, Pid.Value, 0x1000, true));
        }

        receiving.Peer.Send([.. Samples.Frame(FrameKind.PushDone, 33), .. Samples.Frame(FrameKind.Goodbye)]);
        foreach (ulong expected in (ulong[])[16, 32, 33])
        {
            (FrameKind Kind, ulong Id, byte[] Payload) ack = receiving.Peer.Receive()!.Value;
            Assert.Equal((FrameKind.Ack, expected), (ack.Kind, ack.Id));
        }

        await receiving.Push.WaitAsync(Peer.Patience);
    }

    public static TheoryData<string, byte[]> OutOfPlaceOnPush => new()
    {
        { "a gap", Samples.Pages(2, 7, 0x1000, true) },
        { "a frame twice", [.. Samples.Pages(1, 7, 0x1000, true), .. Samples.Pages(1, 7, 0x1000, true)] },
        { "done too early", Samples.Frame(FrameKind.PushDone, 5) },
        { "a request", Samples.Request(1, 7, 0x1000, 1) },
        { "an acknowledgement", Samples.Frame(FrameKind.Ack, 1) },
    };

    [Theory]
    [MemberData(nameof(OutOfPlaceOnPush))]
    public async Task What_is_out_of_place_or_sequence_ends_the_push_lane(string what, byte[] bytes)
    {
        Assert.NotEmpty(what);
        using Receiving receiving = new();
        receiving.Peer.Send(bytes);
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => receiving.Push.WaitAsync(Peer.Patience));
        Assert.Contains("is out of place or out of sequence", e.Message);
    }

    [Fact]
    public async Task Pages_of_a_process_that_is_owed_none_end_the_lane()
    {
        using Receiving receiving = new();
        receiving.Peer.Send(Samples.Pages(1, 8, 0x1000, false));
        await Assert.ThrowsAsync<InvalidDataException>(() => receiving.Push.WaitAsync(Peer.Patience));
    }

    [Fact]
    public async Task A_damaged_frame_ends_the_lane_and_nothing_of_it_is_installed()
    {
        using Receiving receiving = new(checksums: true);
        FaultCounters before = receiving.Counters;
        byte[] damaged = Samples.Sealed(Samples.Pages(1, Pid.Value, 0x1000, false));
        damaged[PagesFrame.PrefixBytes + 1000] ^= 4;
        receiving.Peer.Send(damaged);
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => receiving.Push.WaitAsync(Peer.Patience));
        Assert.Equal(WireErrorCode.Damaged, e.Code);
        Assert.Equal(before, receiving.Counters);
    }

    [Fact]
    public async Task A_frame_without_the_checksum_that_was_agreed_on_ends_the_lane()
    {
        using Receiving receiving = new(checksums: true);
        receiving.Peer.Send(Samples.Pages(1, Pid.Value, 0x1000, false));
        Assert.Equal(WireErrorCode.Damaged, (await Assert.ThrowsAsync<ProtocolException>(() => receiving.Push.WaitAsync(Peer.Patience))).Code);
    }

    [Fact]
    public async Task The_sources_explanation_is_passed_on()
    {
        using Receiving receiving = new();
        receiving.Peer.Send(Samples.Error(WireErrorCode.Internal, "cannot read"));
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => receiving.Push.WaitAsync(Peer.Patience));
        Assert.Equal(("the peer says: cannot read", true), (e.Message, e.SaidByPeer));
    }

    [Fact]
    public async Task Requests_are_numbered_and_only_their_answers_are_taken()
    {
        using LanePair pair = LanePair.Open();
        using Peer source = new(pair.Theirs);
        using LazyMemory memory = Memory();
        DemandLane demand = new();
        demand.Attach(pair.Lane);
        demand.Request(Pid, new PageRange(0x1000, 1));
        demand.Request(Pid, new PageRange(0x5000, 1));
        demand.Flush();
        Task receiving = SocketLaneTests.Start(() => new PageReceiver(pair.Lane, memory).ReceiveAnswers(demand));
        foreach (ulong id in (ulong[])[1, 2])
        {
            (FrameKind Kind, ulong Id, byte[] Payload) request = source.Receive()!.Value;
            Assert.Equal((FrameKind.PageRequest, id), (request.Kind, request.Id));
            source.Send(Samples.Pages(id, Pid.Value, 0x1000, true));
        }

        source.Send(Samples.Pages(3, Pid.Value, 0x1000, true));
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => receiving.WaitAsync(Peer.Patience));
        Assert.Equal("demand lane: an answer has id 3, requests 3 to 2 are unanswered", e.Message);
        demand.Detach();
    }

    /// <summary>Whoever attaches a lane has everything asked again that has not come: what waited for a lane must not be asked twice.</summary>
    [Fact]
    public void What_was_asked_before_the_lane_is_forgotten()
    {
        using LanePair pair = LanePair.Open();
        using Peer source = new(pair.Theirs);
        DemandLane demand = new();
        demand.Request(Pid, new PageRange(0x1000, 1));
        demand.Flush();
        demand.Attach(pair.Lane);
        demand.Request(Pid, new PageRange(0x5000, 1));
        demand.Flush();
        (FrameKind kind, ulong id, byte[] payload) = source.Receive()!.Value;
        Assert.Equal((FrameKind.PageRequest, 1UL, 0x5000UL), (kind, id, PageRequest.Parse(new ReadOnlySequence<byte>(payload)).Range.Start));
        Assert.Equal((ulong)(FrameHeader.Bytes + payload.Length), pair.Lane.BytesSent);
    }

    [Fact]
    public async Task No_more_requests_are_under_way_than_the_protocol_allows_and_asking_never_blocks()
    {
        using LanePair pair = LanePair.Open();
        using Peer source = new(pair.Theirs);
        DemandLane demand = new();
        demand.Attach(pair.Lane);
        const int All = ProtocolLimits.MaxRequestsInFlight + 10;
        // Nobody reads at the other end yet.
        await SocketLaneTests.Start(() =>
        {
            for (int i = 0; i < All; i++)
            {
                demand.Request(Pid, new PageRange(0x1000, 1));
                demand.Flush();
            }
        }).WaitAsync(Peer.Patience);
        Assert.Equal(ProtocolLimits.MaxRequestsInFlight * 32UL, pair.Lane.BytesSent);
        for (ulong id = 1; id <= All; id++)
        {
            Assert.Equal(id, source.Receive()!.Value.Id);
            if (id <= 10)
            {
                demand.Answered(pair.Lane, id);
            }
        }

        Assert.Equal(All * 32UL, pair.Lane.BytesSent);
    }

    [Fact]
    public async Task Asking_on_a_lane_that_broke_neither_blocks_nor_throws()
    {
        using LanePair pair = LanePair.Open();
        DemandLane demand = new();
        demand.Attach(pair.Lane);
        pair.Lane.Abort();
        await SocketLaneTests.Start(() =>
        {
            for (int i = 0; i < 100; i++)
            {
                demand.Request(Pid, new PageRange(0x1000, 1));
                demand.Flush();
            }
        }).WaitAsync(Peer.Patience);
    }

    private static LazyMemory Memory()
    {
        LazyMemory memory = new([new(Pid, [])], new DemandLane(), new NoKeeper(), NullLogger.Instance);
        memory.RestoreFinished();
        return memory;
    }

    private static (SocketLane Source, SocketLane Destination) Lanes(PagePool pool)
    {
        (Socket ours, Socket theirs) = LanePair.Sockets();
        return (new SocketLane(ours, pool), new SocketLane(theirs, pool));
    }

    private static Task Loop(Func<Task> loop) => SocketLaneTests.Start(() => loop().GetAwaiter().GetResult());

    /// <summary>A push lane whose source is the test; its pages are owed to nobody.</summary>
    private sealed class Receiving : IDisposable
    {
        private readonly LanePair _pair = LanePair.Open();
        private readonly LazyMemory _memory = Memory();

        public Receiving(bool checksums = false)
        {
            Peer = new Peer(_pair.Theirs);
            Push = SocketLaneTests.Start(() => new PageReceiver(_pair.Lane, _memory, checksums).ReceivePush());
        }

        public Peer Peer { get; }

        public FaultCounters Counters => _memory.Counters;

        public Task Push { get; }

        public void Dispose()
        {
            Assert.True(Push.IsCompleted);
            _memory.Dispose();
            _pair.Dispose();
        }
    }

    private sealed class NoKeeper : IUserfaultfdKeeper
    {
        public void Keep(int id, Userfaultfd uffd)
        {
        }

        public void Drop(int id)
        {
        }
    }

    private sealed class PatternPages(ulong start) : IPageSource
    {
        public int Read(ImagePid addressSpace, ulong address, Span<byte> destination)
        {
            Pattern.Fill(start, new PageRange(address, (ulong)destination.Length >> PageSize.Shift), destination);
            return destination.Length;
        }
    }
}
