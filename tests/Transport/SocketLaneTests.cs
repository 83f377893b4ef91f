using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using PostCopy.Buffers;
using PostCopy.Memory;
using PostCopy.Tests.TestBed;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Wire;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Transport;

public sealed class SocketLaneTests
{
    [Fact]
    public async Task Everything_arrives_in_order_however_it_is_cut()
    {
        using PagePool pool = new();
        (Socket ours, Socket theirs) = LanePair.Sockets();
        using (SocketLane from = new(ours, pool))
        using (SocketLane to = new(theirs, pool))
        {
            const int Frames = 200;
            Task sender = Start(() =>
            {
                for (int i = 1; i <= Frames; i++)
                {
                    bool[] zero = [.. Enumerable.Range(0, i).Select(page => (page + i) % 3 == 0)];
                    from.Output.Write(Samples.Pages((ulong)i, i, 0x1000, zero));
                    from.Flush();
                }
            });
            ulong expected = 0;
            Task receiver = Start(() => ReadFrames(to, Frames, (header, payload) =>
            {
                Assert.Equal(++expected, header.Id);
                PagesFrame.Parse(payload, out ImagePid pid, out PageRange range, out _, out _);
                Assert.Equal((expected, expected), ((ulong)pid.Value, range.PageCount));
            }));
            await Task.WhenAll(sender, receiver).WaitAsync(Peer.Patience);
            Assert.Equal(from.BytesSent, to.BytesReceived);
        }

        Assert.Equal(0, pool.Rented);
    }

    [Fact]
    public async Task A_peer_that_does_not_read_holds_the_writer_until_it_does()
    {
        using LanePair pair = LanePair.Open();
        const int Bytes = 64 << 20;
        Task writer = Start(() => WriteBlocks(pair.Lane, Bytes));
        ulong stuckAt = await StuckAsync(() => pair.Lane.BytesSent);
        Assert.InRange(stuckAt, 1UL, Bytes - 1UL);
        Assert.False(writer.IsCompleted);

        byte[] sink = new byte[1 << 20];
        long received = 0;
        while (received < Bytes)
        {
            received += pair.Theirs.Receive(sink);
        }

        await writer.WaitAsync(Peer.Patience);
        Assert.Equal((ulong)Bytes, pair.Lane.BytesSent);
    }

    [Fact]
    public async Task Abort_frees_a_writer_and_a_reader()
    {
        using LanePair pair = LanePair.Open();
        Task writer = Start(() => WriteBlocks(pair.Lane, 1L << 40));
        Task<bool> reader = Start(() => pair.Lane.Read().IsCompleted);
        await StuckAsync(() => pair.Lane.BytesSent);
        pair.Lane.Abort();
        pair.Lane.Abort();
        await Assert.ThrowsAsync<SocketException>(() => writer.WaitAsync(Peer.Patience));
        Assert.True(await reader.WaitAsync(Peer.Patience));
    }

    [Fact]
    public void Last_words_come_between_frames_or_not_at_all()
    {
        using LanePair pair = LanePair.Open();
        using Peer peer = new(pair.Theirs);
        pair.Lane.Output.Write(Samples.Frame(FrameKind.Ack, 1));
        pair.Lane.Flush();
        // Written, not flushed: it never was a frame for the peer.
        pair.Lane.Output.Write(Samples.Frame(FrameKind.Ack, 2));
        LaneOpening.Refuse(pair.Lane, new ProtocolException(WireErrorCode.Internal, "enough"));
        Assert.Throws<SocketException>(pair.Lane.Flush);
        peer.Expect(FrameKind.Ack);
        Assert.Equal((WireErrorCode.Internal, "enough"), peer.ExpectRefusal());
    }

    [Fact]
    public async Task Refusing_a_peer_that_does_not_read_does_not_hang_and_corrupts_no_frame()
    {
        using LanePair pair = LanePair.Open();
        byte[] frame = Samples.Pages(1, 1, 0x1000, [.. Enumerable.Repeat(false, 256)]);
        Task writer = Start(() =>
        {
            while (true)
            {
                pair.Lane.Output.Write(frame);
                pair.Lane.Flush();
            }
        });
        await StuckAsync(() => pair.Lane.BytesSent);
        await Start(() => LaneOpening.Refuse(pair.Lane, new ProtocolException(WireErrorCode.Internal, "enough"))).WaitAsync(Peer.Patience);
        await Assert.ThrowsAsync<SocketException>(() => writer.WaitAsync(Peer.Patience));

        using MemoryStream all = new();
        byte[] sink = new byte[1 << 20];
        for (int received; (received = pair.Theirs.Receive(sink)) > 0;)
        {
            all.Write(sink, 0, received);
        }

        byte[] bytes = all.ToArray();
        for (int at = 0; at < bytes.Length; at += frame.Length)
        {
            int length = Math.Min(frame.Length, bytes.Length - at);
            Assert.True(bytes.AsSpan(at, length).SequenceEqual(frame.AsSpan(0, length)), "a frame was broken by the error");
        }
    }

    [Fact]
    public void An_error_of_the_peer_is_not_answered()
    {
        using LanePair pair = LanePair.Open();
        using Peer peer = new(pair.Theirs);
        LaneOpening.Refuse(pair.Lane, new ProtocolException(WireErrorCode.Busy, "the peer says: full", saidByPeer: true));
        Assert.Null(peer.Receive());
    }

    [Fact]
    public async Task Steady_traffic_allocates_nothing()
    {
        using PagePool pool = new();
        (Socket ours, Socket theirs) = LanePair.Sockets();
        using (SocketLane from = new(ours, pool))
        using (SocketLane to = new(theirs, pool))
        {
            const int WarmUp = 200;
            const int Measured = 2000;
            byte[] frame = Samples.Pages(1, 1, 0x1000, [.. Enumerable.Range(0, 20).Select(static page => page % 2 == 0)]);
            long sendBytes = 0;
            long receiveBytes = 0;
            Task sender = Start(() =>
            {
                Send(WarmUp);
                long before = GC.GetAllocatedBytesForCurrentThread();
                Send(Measured);
                sendBytes = GC.GetAllocatedBytesForCurrentThread() - before;
            });
            Task receiver = Start(() =>
            {
                ReadFrames(to, WarmUp, static (_, _) => { });
                long before = GC.GetAllocatedBytesForCurrentThread();
                ReadFrames(to, Measured, static (_, _) => { });
                receiveBytes = GC.GetAllocatedBytesForCurrentThread() - before;
            });
            await Task.WhenAll(sender, receiver).WaitAsync(Peer.Patience);

            // A page's worth for 2000 frames: the pool's free list may grow by a segment.
            Assert.InRange(sendBytes, 0, 4096);
            Assert.InRange(receiveBytes, 0, 4096);

            void Send(int frames)
            {
                for (int i = 0; i < frames; i++)
                {
                    frame.CopyTo(from.Output.GetSpan(frame.Length));
                    from.Output.Advance(frame.Length);
                    from.Flush();
                }
            }
        }

        Assert.Equal(0, pool.Rented);
    }

    [Fact]
    public void What_a_reader_sees_is_native_memory_that_does_not_move()
    {
        using LanePair pair = LanePair.Open();
        pair.Theirs.Send(Samples.Frame(FrameKind.Ack, 1));
        ReadResult read = pair.Lane.Read();
        using MemoryHandle handle = read.Buffer.First.Pin();
        unsafe
        {
            Assert.Equal(0UL, (ulong)handle.Pointer % (ulong)PageSize.Bytes);
        }

        pair.Lane.Input.AdvanceTo(read.Buffer.End);
    }

    internal static Task Start(Action body) => Task.Factory.StartNew(body, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    internal static Task<T> Start<T>(Func<T> body) => Task.Factory.StartNew(body, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>Waits until a counter has moved and then stands still: a thread behind it is blocked.</summary>
    private static async Task<ulong> StuckAsync(Func<ulong> counter)
    {
        ulong last = 0;
        int still = 0;
        await Condition.WaitAsync(
            () =>
            {
                ulong now = counter();
                still = now == last && now > 0 ? still + 1 : 0;
                last = now;
                return still > 100;
            },
            Peer.Patience,
            "the writer blocks");
        return last;
    }

    private static void WriteBlocks(SocketLane lane, long bytes)
    {
        for (long written = 0; written < bytes; written += 1 << 16)
        {
            lane.Output.GetSpan(1 << 16)[..(1 << 16)].Fill(1);
            lane.Output.Advance(1 << 16);
            lane.Flush();
        }
    }

    private static void ReadFrames(SocketLane lane, int frames, Action<FrameHeader, ReadOnlySequence<byte>> handle)
    {
        while (frames > 0)
        {
            ReadResult read = lane.Read();
            Assert.False(read.IsCompleted && read.Buffer.IsEmpty, "the lane ended early");
            ReadOnlySequence<byte> buffer = read.Buffer;
            while (frames > 0 && FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                handle(header, payload);
                frames--;
            }

            // Nothing examined that was not consumed when it was enough: what is left belongs to the next call.
            lane.Input.AdvanceTo(buffer.Start, frames > 0 ? buffer.End : buffer.Start);
        }
    }
}
