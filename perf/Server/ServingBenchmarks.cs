using System.Buffers;
using System.IO.Pipelines;
using BenchmarkDotNet.Attributes;
using PostCopy.Buffers;
using PostCopy.Memory;
using PostCopy.Migrate;
using PostCopy.Pages;
using PostCopy.Perf.Support;
using PostCopy.Serve;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Perf.Server;

/// <summary>Rung 4: the page server over loopback TCP, reading a real process. The client takes the pages and forgets them.</summary>
public class ServingBenchmarks
{
    private const int RegionMebibytes = 256;
    private const int PushPages = RegionMebibytes << 20 >> 12;

    private readonly PagePool _pool = new();
    private readonly AutoResetEvent _pushNow = new(false);
    private MemoryProgram? _program;
    private ProcessPageSource? _source;
    private PageLanes? _lanes;
    private SocketLane? _demand;
    private SocketLane? _push;
    private SocketLane? _pushSource;
    private Thread? _pusher;
    private volatile bool _closing;
    private ulong _lastId;
    private ulong _page;

    [GlobalSetup]
    public void SetUp()
    {
        _program = new MemoryProgram(RegionMebibytes);
        _source = new ProcessPageSource(new Dictionary<ImagePid, int> { [PageTransfer.Pid] = _program.Pid });
        (SocketLane demandSource, _demand) = LoopbackLanes.Connect(LaneRole.Demand, _pool);
        (_pushSource, _push) = LoopbackLanes.Connect(LaneRole.Push, _pool);
        _lanes = new PageLanes(demandSource, _pushSource);
        _lanes.StartDemand(NewSession());
        _pusher = new Thread(PushWhenAsked) { IsBackground = true };
        _pusher.Start();

        Span<byte> truth = new byte[PageSize.Bytes];
        _source.Read(PageTransfer.Pid, _program.Region.Start + PageSize.ToBytes(_page), truth);
        byte[] served = new byte[PageSize.Bytes];
        RoundTrip(served);
        if (!truth.SequenceEqual(served) || Push256MiB() != PushPages)
        {
            throw new InvalidOperationException("not the pages that were asked for");
        }
    }

    [GlobalCleanup]
    public void CleanUp()
    {
        _closing = true;
        _pushNow.Set();
        _pusher!.Join();
        _lanes!.Dispose();
        _demand!.Dispose();
        _push!.Dispose();
        _source!.Dispose();
        _program!.Dispose();
        _pool.Dispose();
    }

    /// <summary>A request of one page until its answer is here.</summary>
    [Benchmark]
    public void DemandRoundTrip() => RoundTrip(default);

    /// <summary>A whole region, from the first frame to the last; divide 256 MiB by it.</summary>
    [Benchmark]
    public long Push256MiB()
    {
        _pushNow.Set();
        long pages = 0;
        for (bool done = false; !done;)
        {
            ReadResult read = _push!.Read();
            ReadOnlySequence<byte> buffer = read.Buffer;
            while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                done = header.Kind == FrameKind.PushDone;
                if (!done)
                {
                    PagesFrame.Parse(payload, out _, out PageRange range, out _, out _);
                    pages += (long)range.PageCount;
                }
            }

            _push.Input.AdvanceTo(buffer.Start, buffer.End);
        }

        return pages;
    }

    private PageServerSession NewSession() =>
        new(_source!, new PushPlan(new UnsentPages([new(PageTransfer.Pid, [_program!.Region])]), new SequentialPolicy()));

    private void RoundTrip(Span<byte> copy)
    {
        PageRange page = new(_program!.Region.Start + PageSize.ToBytes(_page), 1);
        _page = (_page + 1) % _program.Region.PageCount;
        FrameWriter.WritePageRequest(_demand!.Output, ++_lastId, new PageRequest(PageTransfer.Pid, page));
        _demand.Flush();
        for (bool answered = false; !answered;)
        {
            ReadResult read = _demand.Read();
            ReadOnlySequence<byte> buffer = read.Buffer;
            if (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                answered = header.Id == _lastId;
                if (!copy.IsEmpty)
                {
                    PagesFrame.Parse(payload, out _, out _, out _, out ReadOnlySequence<byte> data);
                    data.CopyTo(copy);
                }
            }

            _demand.Input.AdvanceTo(buffer.Start, buffer.End);
            if (read.IsCompleted)
            {
                throw new InvalidOperationException("the server has closed the lane");
            }
        }
    }

    private void PushWhenAsked()
    {
        while (_pushNow.WaitOne() && !_closing)
        {
            NewSession().PushAsync(_pushSource!.Output, CancellationToken.None).GetAwaiter().GetResult();
        }
    }
}
