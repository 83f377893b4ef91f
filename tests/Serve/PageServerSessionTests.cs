using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using PostCopy.Buffers;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Serve;
using PostCopy.Tests.TestBed;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Transport;
using PostCopy.Tests.Wire;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Serve;

public sealed class PageServerSessionTests
{
    private static readonly ImagePid First = new(1);
    private static readonly ImagePid Second = new(7);
    private static readonly PageRange[] FirstRanges = [new(0x10_0000, 700), new(0x80_0000, 3)];
    private static readonly PageRange[] SecondRanges = [new(0x10_0000, 40)];

    [Fact]
    public async Task A_demanded_page_is_answered_while_the_push_is_held_up()
    {
        PageServerSession session = Make(out PushPlan plan);
        Pipe push = new(new PipeOptions(pauseWriterThreshold: 1, resumeWriterThreshold: 1, useSynchronizationContext: false));
        Task pushing = session.PushAsync(push.Writer, CancellationToken.None);
        Assert.False(pushing.IsCompleted);

        // One page that the push has taken already, one that it has not.
        using DemandEnd demand = new(session);
        await demand.AskAsync(Samples.Request(1, 1, 0x10_0000, 1), Samples.Request(2, 1, 0x80_0000, 3));
        Dictionary<(ImagePid, ulong), int> demanded = [];
        Assert.Equal(1UL, await demand.AnswerAsync(demanded));
        Assert.Equal(2UL, await demand.AnswerAsync(demanded));
        Assert.Equal((3UL, 1UL), (plan.Counters.Demanded, plan.Counters.Resent));

        Dictionary<(ImagePid, ulong), int> pushed = [];
        ulong last = await ReadPushAsync(push.Reader, pushed);
        await pushing.WaitAsync(Peer.Patience);
        await demand.CloseAsync();

        Assert.Equal(740, pushed.Count);
        Assert.All(pushed.Values, static times => Assert.Equal(1, times));
        Assert.DoesNotContain((First, 0x80_0000UL), pushed);
        int zero = pushed.Keys.Concat(demanded.Keys).Count(static page => !InMemoryPages.Page(page.Item1, page.Item2).AsSpan().ContainsAnyExcept((byte)0));
        Assert.Equal((740UL, (ulong)zero), (session.PushedPages, session.ZeroPages));
        Assert.InRange(last, 4UL, 20UL);
    }

    [Fact]
    public async Task Everything_arrives_exactly_once_over_sockets_whatever_is_demanded_meanwhile()
    {
        PageServerSession session = Make(out PushPlan plan);
        using PagePool pool = new();
        (Socket demandSocket, Socket asker) = LanePair.Sockets();
        (Socket pushSocket, Socket receiver) = LanePair.Sockets();
        using (SocketLane demandLane = new(demandSocket, pool))
        using (SocketLane pushLane = new(pushSocket, pool))
        using (Peer demand = new(asker))
        using (Peer push = new(receiver))
        {
            Task serving = SocketLaneTests.Start(() => session.ServeDemandAsync(demandLane, CancellationToken.None).GetAwaiter().GetResult());
            Task pushing = SocketLaneTests.Start(() => session.PushAsync(pushLane.Output, CancellationToken.None).GetAwaiter().GetResult());
            Task acknowledging = SocketLaneTests.Start(() => session.ReadAcknowledgementsAsync(pushLane.Input, CancellationToken.None).GetAwaiter().GetResult());
            Dictionary<(ImagePid, ulong), int> demanded = [];
            Task asking = SocketLaneTests.Start(() =>
            {
                for (ulong id = 1; id <= 300; id++)
                {
                    demand.Send(Samples.Request(id, 1, 0x10_0000 + ((700 - (id * 2)) << PageSize.Shift), 1));
                    (FrameKind Kind, ulong Id, byte[] Payload) answer = demand.Receive()!.Value;
                    Assert.Equal((FrameKind.Pages, id), (answer.Kind, answer.Id));
                    Count(new ReadOnlySequence<byte>(answer.Payload), demanded);
                }

                demand.Send(Samples.Frame(FrameKind.Goodbye));
            });
            Dictionary<(ImagePid, ulong), int> pushed = [];
            (FrameKind Kind, ulong Id, byte[] Payload) frame;
            ulong expected = 0;
            while ((frame = push.Receive()!.Value).Kind == FrameKind.Pages)
            {
                Assert.Equal(++expected, frame.Id);
                Count(new ReadOnlySequence<byte>(frame.Payload), pushed);
                push.Send(Samples.Frame(FrameKind.Ack, frame.Id));
            }

            Assert.Equal((FrameKind.PushDone, expected), (frame.Kind, frame.Id));
            push.Send([.. Samples.Frame(FrameKind.Ack, expected), .. Samples.Frame(FrameKind.Goodbye)]);
            await Task.WhenAll(serving, pushing, acknowledging, asking).WaitAsync(Peer.Patience);

            Assert.Equal(expected, session.Acknowledged);
            Assert.All(pushed.Values, static times => Assert.Equal(1, times));
            Assert.Equal(300, demanded.Count);
            Assert.Equal(743, pushed.Keys.Union(demanded.Keys).Count());
            Assert.Equal((0UL, plan.Counters.Resent), (plan.Counters.Remaining, (ulong)pushed.Keys.Intersect(demanded.Keys).Count()));
        }

        Assert.Equal(0, pool.Rented);
    }

    [Theory]
    [InlineData(1, 0x8000UL, 1UL)]
    [InlineData(2, 0x10_0000UL, 1UL)]
    [InlineData(7, 0x10_0000UL, 41UL)]
    public async Task What_is_not_owed_is_not_answered(int pid, ulong address, ulong pages)
    {
        using DemandEnd demand = new(Make(out _));
        await demand.AskAsync(Samples.Request(5, pid, address, pages));
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => demand.Serving.WaitAsync(Peer.Patience));
        Assert.Contains($"request 5 asks for {new PageRange(address, pages)} of process {pid}, which this session does not owe", e.Message);
        Assert.False(demand.HasOutput);
    }

    [Fact]
    public async Task A_page_that_cannot_be_read_is_left_out_of_the_push_and_told_of_once()
    {
        List<string> told = [];
        UnreadablePages unreadable = new((pid, address) => told.Add($"{pid} {address:x}"));
        Assert.Null(unreadable.Summary);
        for (int connection = 0; connection < 2; connection++)
        {
            Pipe push = new(new PipeOptions(pauseWriterThreshold: 0));
            PageServerSession session = Make(out _, unreadable: 0x10_2000, told: unreadable);
            await session.PushAsync(push.Writer, CancellationToken.None).WaitAsync(Peer.Patience);
            Dictionary<(ImagePid, ulong), int> pushed = [];
            await ReadPushAsync(push.Reader, pushed);
            // Of the other process the page of this address cannot be read either.
            Assert.Equal((741, 741UL), (pushed.Count, session.PushedPages));
            Assert.DoesNotContain((First, 0x10_2000UL), pushed);
            Assert.Contains((First, 0x10_3000UL), pushed);
        }

        Assert.Equal(["1 102000", "7 102000"], told.Order());
        Assert.StartsWith("2 pages that cannot be read on the source", unreadable.Summary, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_page_that_cannot_be_read_is_never_answered_with_zeroes_and_holds_up_no_other()
    {
        PageServerSession session = Make(out _, unreadable: 0x10_2000);
        using DemandEnd demand = new(session);
        await demand.AskAsync(Samples.Request(1, 1, 0x10_0000, 4), Samples.Request(2, 1, 0x10_2000, 1), Samples.Request(3, 1, 0x10_2000, 3), Samples.Request(4, 1, 0x10_5000, 1));
        Dictionary<(ImagePid, ulong), int>[] answers = [[], [], [], []];
        for (int i = 0; i < answers.Length; i++)
        {
            Assert.Equal((ulong)i + 1, await demand.AnswerAsync(answers[i]));
        }

        Assert.Equal([(First, 0x10_0000UL), (First, 0x10_1000UL)], answers[0].Keys.Order());
        // Of what is asked for there is nothing to be had.
        Assert.Equal([(First, 0x10_0000UL)], answers[1].Keys);
        Assert.Equal([(First, 0x10_3000UL), (First, 0x10_4000UL)], answers[2].Keys.Order());
        Assert.Equal([(First, 0x10_5000UL)], answers[3].Keys);
        await demand.CloseAsync();

        // What lay behind the hole comes with the push.
        Pipe push = new(new PipeOptions(pauseWriterThreshold: 0));
        await session.PushAsync(push.Writer, CancellationToken.None).WaitAsync(Peer.Patience);
        Dictionary<(ImagePid, ulong), int> pushed = [];
        await ReadPushAsync(push.Reader, pushed);
        Assert.Equal(741, pushed.Keys.Union(answers.SelectMany(static answer => answer.Keys)).Count());
    }

    [Fact]
    public async Task Where_nothing_can_be_read_at_all_nothing_is_answered()
    {
        PushPlan plan = new(new UnsentPages([new(First, [new PageRange(0x10_0000, 1)])]), new SequentialPolicy());
        using DemandEnd demand = new(new PageServerSession(new InMemoryPages { Unreadable = 0x10_0000 }, plan));
        await demand.AskAsync(Samples.Request(1, 1, 0x10_0000, 1));
        PageSourceException e = await Assert.ThrowsAsync<PageSourceException>(() => demand.Serving.WaitAsync(Peer.Patience));
        Assert.Equal("page 100000 of process 1 cannot be read on the source although the images owe it", e.Message);
        Assert.False(demand.HasOutput);
    }

    [Theory]
    [InlineData(FrameKind.Ack)]
    [InlineData(FrameKind.Pages)]
    [InlineData(FrameKind.Hello)]
    [InlineData(FrameKind.Heartbeat)]
    public async Task Other_frames_have_no_place_on_the_demand_lane(object kind)
    {
        using DemandEnd demand = new(Make(out _));
        await demand.AskAsync(Samples.Frame((FrameKind)kind));
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => demand.Serving.WaitAsync(Peer.Patience));
        Assert.Equal($"a {kind} frame has no place on the demand lane", e.Message);
    }

    [Fact]
    public async Task The_peers_explanation_is_passed_on()
    {
        using DemandEnd demand = new(Make(out _));
        await demand.AskAsync(Samples.Error(WireErrorCode.Internal, "no memory left"));
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => demand.Serving.WaitAsync(Peer.Patience));
        Assert.Equal(("the peer says: no memory left", true), (e.Message, e.SaidByPeer));
        await Assert.ThrowsAsync<ProtocolException>(() => AcknowledgeAsync(Make(out _), Samples.Error(WireErrorCode.Internal, "no memory left")));
    }

    [Fact]
    public async Task Acknowledgements_grow_and_never_run_ahead()
    {
        PageServerSession session = Make(out _);
        Pipe push = new(new PipeOptions(pauseWriterThreshold: 0));
        await session.PushAsync(push.Writer, CancellationToken.None);
        ulong last = await ReadPushAsync(push.Reader, []);

        await AcknowledgeAsync(session, [.. Samples.Frame(FrameKind.Ack, 2), .. Samples.Frame(FrameKind.Ack, 2), .. Samples.Frame(FrameKind.Ack, 3)]);
        Assert.Equal(3UL, session.Acknowledged);
        Assert.Contains("acknowledgement 2 is not between the last one, 3,", await RejectedAsync(Samples.Frame(FrameKind.Ack, 2)));
        Assert.Contains($"acknowledgement {last + 1} is not between", await RejectedAsync(Samples.Frame(FrameKind.Ack, last + 1)));
        Assert.Contains("a PageRequest frame has no place on the push lane", await RejectedAsync(Samples.Request(1, 1, 0x10_0000, 1)));
        Assert.Equal(3UL, session.Acknowledged);
        await AcknowledgeAsync(session, Samples.Frame(FrameKind.Ack, last));
        Assert.Equal(last, session.Acknowledged);

        async Task<string> RejectedAsync(byte[] bytes) => (await Assert.ThrowsAsync<ProtocolException>(() => AcknowledgeAsync(session, bytes))).Message;
    }

    [Fact]
    public async Task A_push_lane_that_closes_early_ends_the_push()
    {
        PageServerSession session = Make(out _);
        Pipe push = new(new PipeOptions(pauseWriterThreshold: 1, resumeWriterThreshold: 1));
        Task pushing = session.PushAsync(push.Writer, CancellationToken.None);
        push.Reader.Complete();
        await Assert.ThrowsAsync<IOException>(() => pushing.WaitAsync(Peer.Patience));
    }

    [Fact]
    public async Task Whoever_asks_for_everything_and_reads_nothing_gets_no_memory_for_it()
    {
        PageServerSession session = Make(out _);
        using LanePair pair = LanePair.Open();
        byte[] requests = [.. Enumerable.Range(1, 1000).SelectMany(static id => Samples.Request((ulong)id, 1, 0x10_0000, 256))];
        Task serving = SocketLaneTests.Start(() => session.ServeDemandAsync(pair.Lane, CancellationToken.None).GetAwaiter().GetResult());
        pair.Theirs.Send(requests);
        ulong last = 0;
        int still = 0;
        await Condition.WaitAsync(
            () =>
            {
                ulong now = pair.Lane.BytesSent;
                still = now == last && now > 0 ? still + 1 : 0;
                last = now;
                return still > 100;
            },
            Peer.Patience,
            "the server is held by the peer that does not read");
        // The requests' block, and those of the frames under way; not a thousand.
        Assert.InRange(pair.Pool.Rented, 1, 5);
        pair.Lane.Abort();
        await Assert.ThrowsAsync<SocketException>(() => serving.WaitAsync(Peer.Patience));
    }

    [Fact]
    public async Task Pushed_pages_that_lie_alone_share_their_sends()
    {
        const int Pages = 200;
        PushPlan plan = new(new UnsentPages([new(First, [.. Enumerable.Range(0, Pages).Select(static i => new PageRange(0x10_0000 + ((ulong)i * 0x2000), 1))])]), new SequentialPolicy());
        Pipe push = new(new PipeOptions(pauseWriterThreshold: 0));
        CountingWriter output = new(push.Writer);
        await new PageServerSession(new InMemoryPages(), plan).PushAsync(output, CancellationToken.None).WaitAsync(Peer.Patience);

        Dictionary<(ImagePid, ulong), int> pushed = [];
        Assert.Equal((ulong)Pages, await ReadPushAsync(push.Reader, pushed));
        Assert.Equal(Pages, pushed.Count);
        Assert.InRange(output.Flushes, 2, (Pages * (PageSize.Bytes + PagesFrame.PrefixBytes) / (64 << 10)) + 1);
    }

    /// <summary>Each run of zeroes is read into a block of the pipe's memory as well, and is next to nothing on the wire.</summary>
    [Fact]
    public async Task Zeroes_are_sent_before_they_fill_the_pipes_memory()
    {
        const int Frames = 100;
        PushPlan plan = new(new UnsentPages([new(First, [new PageRange(0x10_0000, Frames * ProtocolLimits.MaxPagesPerFrame)])]), new SequentialPolicy());
        Pipe push = new(new PipeOptions(pauseWriterThreshold: 0));
        CountingWriter output = new(push.Writer);
        PageServerSession session = new(new Zeroes(), plan);
        await session.PushAsync(output, CancellationToken.None).WaitAsync(Peer.Patience);
        Assert.Equal(Frames * (ulong)ProtocolLimits.MaxPagesPerFrame, session.ZeroPages);
        Assert.InRange(output.Flushes, Frames, int.MaxValue);

        using LanePair pair = LanePair.Open();
        byte[] requests = [.. Enumerable.Range(1, Frames).SelectMany(static id => Samples.Request((ulong)id, First.Value, 0x10_0000, ProtocolLimits.MaxPagesPerFrame))];
        Task serving = SocketLaneTests.Start(() => session.ServeDemandAsync(pair.Lane, CancellationToken.None).GetAwaiter().GetResult());
        int most = 0;
        pair.Theirs.Send(requests);
        await Condition.WaitAsync(
            () =>
            {
                most = Math.Max(most, pair.Pool.Rented);
                return pair.Lane.BytesSent >= Frames * 64;
            },
            Peer.Patience,
            "the answers");
        Assert.InRange(most, 1, 5);
        pair.Lane.Abort();
        await serving.WaitAsync(Peer.Patience);
    }

    private sealed class Zeroes : IPageSource
    {
        public int Read(ImagePid addressSpace, ulong address, Span<byte> destination)
        {
            destination.Clear();
            return destination.Length;
        }
    }

    private static PageServerSession Make(out PushPlan plan, ulong unreadable = ulong.MaxValue, UnreadablePages? told = null)
    {
        plan = new PushPlan(new UnsentPages([new(First, FirstRanges), new(Second, SecondRanges)]), new SequentialPolicy());
        return new PageServerSession(new InMemoryPages { Unreadable = unreadable }, plan, unreadable: told);
    }

    private static async Task AcknowledgeAsync(PageServerSession session, byte[] bytes)
    {
        Pipe pipe = new();
        await pipe.Writer.WriteAsync(bytes);
        pipe.Writer.Complete();
        await session.ReadAcknowledgementsAsync(pipe.Reader, CancellationToken.None).WaitAsync(Peer.Patience);
    }

    /// <summary>Reads a push lane to its end, checks order and content, and returns the last sequence number.</summary>
    private static async Task<ulong> ReadPushAsync(PipeReader reader, Dictionary<(ImagePid, ulong), int> pages)
    {
        ulong last = 0;
        while (true)
        {
            ReadResult read = await reader.ReadAsync().AsTask().WaitAsync(Peer.Patience);
            ReadOnlySequence<byte> buffer = read.Buffer;
            while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                if (header.Kind == FrameKind.PushDone)
                {
                    Assert.Equal(last, header.Id);
                    reader.AdvanceTo(buffer.Start);
                    return last;
                }

                Assert.Equal((FrameKind.Pages, last + 1), (header.Kind, header.Id));
                last = header.Id;
                Count(payload, pages);
            }

            reader.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    /// <summary>Counts the pages of a frame, each of which must hold what the memory holds.</summary>
    private static void Count(ReadOnlySequence<byte> payload, Dictionary<(ImagePid, ulong), int> pages)
    {
        PagesFrame.Parse(payload, out ImagePid pid, out PageRange range, out PagesFrame.ZeroBitmap zero, out ReadOnlySequence<byte> data);
        for (int page = 0; page < (int)range.PageCount; page++)
        {
            ulong address = range.Start + PageSize.ToBytes((ulong)page);
            byte[] expected = InMemoryPages.Page(pid, address);
            Assert.Equal(!expected.AsSpan().ContainsAnyExcept((byte)0), zero[page]);
            if (!zero[page])
            {
                Assert.True(data.Slice(0, PageSize.Bytes).ToArray().AsSpan().SequenceEqual(expected), $"page {address:x} of process {pid}");
                data = data.Slice(PageSize.Bytes);
            }

            pages[(pid, address)] = pages.GetValueOrDefault((pid, address)) + 1;
        }
    }

    /// <summary>The asking end of a demand lane over two pipes in memory.</summary>
    private sealed class DemandEnd : IDisposable
    {
        private readonly Pipe _requests = new();
        private readonly Pipe _answers = new(new PipeOptions(pauseWriterThreshold: 0));

        public DemandEnd(PageServerSession session) => Serving = session.ServeDemandAsync(new Ends(_requests.Reader, _answers.Writer), CancellationToken.None);

        public Task Serving { get; }

        public bool HasOutput => _answers.Reader.TryRead(out _) || _answers.Writer.UnflushedBytes > 0;

        public async Task AskAsync(params byte[][] frames) => await _requests.Writer.WriteAsync(frames.SelectMany(static frame => frame).ToArray());

        public async Task<ulong> AnswerAsync(Dictionary<(ImagePid, ulong), int> pages)
        {
            while (true)
            {
                ReadResult read = await _answers.Reader.ReadAsync().AsTask().WaitAsync(Peer.Patience);
                ReadOnlySequence<byte> buffer = read.Buffer;
                bool whole = FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload);
                if (whole)
                {
                    Count(payload, pages);
                }

                _answers.Reader.AdvanceTo(buffer.Start, whole ? buffer.Start : buffer.End);
                if (whole)
                {
                    return header.Id;
                }
            }
        }

        public async Task CloseAsync()
        {
            await AskAsync(Samples.Frame(FrameKind.Goodbye));
            await Serving.WaitAsync(Peer.Patience);
        }

        public void Dispose() => _requests.Writer.Complete();

        private sealed record Ends(PipeReader Input, PipeWriter Output) : IDuplexPipe;
    }

    private sealed class CountingWriter(PipeWriter inner) : PipeWriter
    {
        public int Flushes { get; private set; }

        public override void Advance(int bytes) => inner.Advance(bytes);

        public override Memory<byte> GetMemory(int sizeHint = 0) => inner.GetMemory(sizeHint);

        public override Span<byte> GetSpan(int sizeHint = 0) => inner.GetSpan(sizeHint);

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
        {
            Flushes++;
            return inner.FlushAsync(cancellationToken);
        }

        public override void CancelPendingFlush() => inner.CancelPendingFlush();

        public override void Complete(Exception? exception = null) => inner.Complete(exception);
    }
}
