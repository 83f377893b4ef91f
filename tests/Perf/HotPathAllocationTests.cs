using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using PostCopy.Buffers;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Serve;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Perf;

/// <summary>What is done for every page or fault allocates nothing: no collection ever stands between a task and its page.</summary>
public sealed class HotPathAllocationTests
{
    private const ulong Address = 0x10_0000_0000;
    private static readonly ImagePid Pid = new(7);

    [Fact]
    public void The_measure_notices_an_allocation() => Assert.InRange(Allocations.PerRound(() => GC.KeepAlive(new byte[100])), 100, 200);

    [Fact]
    public void Page_request()
    {
        ArrayBufferWriter<byte> output = new();
        Assert.Equal(0, Allocations.PerRound(() =>
        {
            output.ResetWrittenCount();
            FrameWriter.WritePageRequest(output, id: 1, new PageRequest(Pid, new PageRange(Address, 1)));
            ReadOnlySequence<byte> buffer = new(output.WrittenMemory);
            Require(FrameReader.TryReadFrame(ref buffer, out _, out ReadOnlySequence<byte> payload) && PageRequest.Parse(payload).Pid == Pid);
        }));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(ProtocolLimits.MaxPagesPerFrame)]
    public void Pages_frame(int pages)
    {
        byte[] frame = new byte[PagesFrame.PrefixBytes + (pages * PageSize.Bytes)];
        new Random(1).NextBytes(frame);
        Assert.Equal(0, Allocations.PerRound(() =>
        {
            int bytes = PagesFrame.Finish(frame, id: 1, Pid, new PageRange(Address, (ulong)pages), out _);
            ReadOnlySequence<byte> buffer = new(frame, 0, bytes);
            Require(FrameReader.TryReadFrame(ref buffer, out _, out ReadOnlySequence<byte> payload));
            PagesFrame.Parse(payload, out _, out PageRange range, out _, out _);
            Require(range.PageCount == (ulong)pages);
        }));
    }

    [Fact]
    public void Socket_lane()
    {
        using PagePool pool = new();
        (SocketLane near, SocketLane far) = Connect(pool);
        using (near)
        using (far)
        {
            Assert.Equal(0, Allocations.PerRound(() =>
            {
                FrameWriter.WriteEmpty(near.Output, FrameKind.Ack, id: 1);
                near.Flush();
                ReadResult read = far.Read();
                ReadOnlySequence<byte> buffer = read.Buffer;
                Require(FrameReader.TryReadFrame(ref buffer, out _, out _));
                far.Input.AdvanceTo(buffer.Start, buffer.End);
            }));
        }
    }

    [Fact]
    public void Answer_to_a_page_request()
    {
        using PagePool pool = new();
        (SocketLane server, SocketLane client) = Connect(pool);
        PageRange region = new(Address, 1024);
        AllocationMeter source = new();
        PageServerSession session = new(source, new PushPlan(new UnsentPages([new(Pid, [region])]), new SequentialPolicy()));
        Thread serving = new(() => session.ServeDemandAsync(server, CancellationToken.None).GetAwaiter().GetResult());
        using (server)
        using (client)
        {
            serving.Start();
            RoundTrips(client, region with { PageCount = 500 });
            long before = source.AllocatedBytes;
            RoundTrips(client, region with { PageCount = 500 });
            Assert.Equal(before, source.AllocatedBytes);
            client.Abort();
            serving.Join();
        }
    }

    private static void RoundTrips(SocketLane client, PageRange pages)
    {
        for (ulong page = 0; page < pages.PageCount; page++)
        {
            FrameWriter.WritePageRequest(client.Output, id: page, new PageRequest(Pid, new PageRange(pages.Start + PageSize.ToBytes(page), 1)));
            client.Flush();
            for (bool answered = false; !answered;)
            {
                ReadOnlySequence<byte> buffer = client.Read().Buffer;
                answered = FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out _) && header.Id == page;
                client.Input.AdvanceTo(buffer.Start, buffer.End);
            }
        }
    }

    private static (SocketLane Near, SocketLane Far) Connect(PagePool pool)
    {
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        Socket near = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        near.Connect(listener.LocalEndPoint!);
        return (new SocketLane(near, pool), new SocketLane(listener.Accept(), pool));
    }

    // Assert allocates.
    private static void Require(bool condition)
    {
        if (!condition)
        {
            throw new InvalidOperationException("not what was expected");
        }
    }

    /// <summary>Is called on the thread that serves, once for each answer: so it can see what that thread allocates between two answers.</summary>
    private sealed class AllocationMeter : IPageSource
    {
        private long _allocatedBytes;

        public long AllocatedBytes => Volatile.Read(ref _allocatedBytes);

        public int Read(ImagePid addressSpace, ulong address, Span<byte> destination)
        {
            Volatile.Write(ref _allocatedBytes, GC.GetAllocatedBytesForCurrentThread());
            destination.Fill(1);
            return destination.Length;
        }
    }
}
