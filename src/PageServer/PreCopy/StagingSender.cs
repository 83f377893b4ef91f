using System.Buffers;
using System.Diagnostics;
using System.IO.Pipelines;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.PreCopy;

/// <summary>
/// Copies pages of running processes over the push lane to where they are kept until the freeze. Every so often it waits for the destination's word of how
/// much it has taken: that is the back-pressure, and the only reason to count a page as copied.
/// </summary>
/// <remarks>For one thread, which has the push lane to itself until <see cref="Finish"/>.</remarks>
/// <param name="lane">The push lane.</param>
/// <param name="checksums">Whether frames have one.</param>
/// <param name="maxBytesPerSecond">The rate; 0 for none.</param>
/// <param name="onTaken">Called for what the destination has taken.</param>
/// <param name="onGone">Called for what could not be read any more: it was unmapped meanwhile, or a guard put there.</param>
internal sealed class StagingSender(SocketLane lane, bool checksums, double maxBytesPerSecond, Action<ImagePid, PageRange> onTaken, Action<ImagePid, PageRange> onGone)
{
    /// <summary>Sent without a word from the destination.</summary>
    private const long BytesPerSync = 64 << 20;

    /// <summary>Small frames share a send.</summary>
    private const long BytesPerFlush = 256 << 10;

    /// <summary>At full rate a frame of 1 MiB goes at once, and more than some milliseconds' worth never does.</summary>
    private const double BurstBytes = 2 << 20;

    /// <summary>No frame is waited for much longer than this: the time that copying may take, and whoever cancels it, are looked at between two of them.</summary>
    private const double SecondsPerFrame = 0.25;

    private readonly ulong _pagesPerFrame = Math.Min(
        (ulong)(ProtocolLimits.MaxPagesPerFrame - (checksums ? 1 : 0)),
        maxBytesPerSecond > 0 ? Math.Max(1, (ulong)(maxBytesPerSecond * SecondsPerFrame / PageSize.Bytes)) : ulong.MaxValue);
    private readonly TokenBucket _bucket = new(maxBytesPerSecond, BurstBytes);
    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly List<(ulong Sequence, ImagePid Pid, PageRange Range)> _unconfirmed = [];
    private ulong _sequence;
    private long _sinceSync;
    private long _sinceFlush;

    /// <summary>The destination has no room for more.</summary>
    internal bool IsFull { get; private set; }

    /// <summary>Pages that were sent, those of zeroes included.</summary>
    internal ulong PagesSent { get; private set; }

    /// <summary>Copies the beginning of a run of pages, a frame of them at most, and returns what is left of the run. Cancelled, it sends no less but waits no longer.</summary>
    internal PageRange CopySome(ImagePid pid, int hostPid, PageRange run, CancellationToken cancellation)
    {
        PageRange part = run with { PageCount = Math.Min(run.PageCount, _pagesPerFrame) };
        int bytes = (int)part.ByteCount;
        Span<byte> frame = lane.Output.GetSpan(PagesFrame.PrefixBytes + bytes + (checksums ? FrameChecksum.Bytes : 0));
        int read = (int)PageSize.AlignDown((ulong)RemoteMemory.Read(hostPid, part.Start, frame.Slice(PagesFrame.PrefixBytes, bytes)));
        ulong done = (ulong)read >> PageSize.Shift;
        if (done > 0)
        {
            Send(frame, pid, part with { PageCount = done }, cancellation);
        }

        if (done < part.PageCount)
        {
            onGone(pid, new PageRange(part.Start + PageSize.ToBytes(done), 1));
            done++;
        }

        return new PageRange(run.Start + PageSize.ToBytes(done), run.PageCount - done);
    }

    /// <summary>Waits until all that was sent is taken, or was not.</summary>
    internal void Sync()
    {
        FrameWriter.WriteEmpty(lane.Output, FrameKind.StageSync, _sequence);
        lane.Flush();
        ulong taken = AwaitAck();
        IsFull = taken < _sequence;
        foreach ((ulong sequence, ImagePid pid, PageRange range) in _unconfirmed)
        {
            if (sequence <= taken)
            {
                onTaken(pid, range);
            }
        }

        _unconfirmed.Clear();
        _sinceSync = 0;
        _sinceFlush = 0;
    }

    /// <summary>Says which pages are still what they were: these, and no other ones, may be put in place. The lane then belongs to the push.</summary>
    internal static void Finish(SocketLane lane, IEnumerable<KeyValuePair<ImagePid, List<PageRange>>> valid)
    {
        foreach ((ImagePid pid, List<PageRange> ranges) in valid)
        {
            foreach (PageRange[] some in ranges.Chunk(ProtocolLimits.MaxValidRanges))
            {
                ValidFrame.Write(lane.Output, pid, some);
            }
        }

        FrameWriter.WriteEmpty(lane.Output, FrameKind.StageDone);
        lane.Flush();
    }

    private void Send(Span<byte> frame, ImagePid pid, PageRange range, CancellationToken cancellation)
    {
        int length = PagesFrame.Finish(frame, ++_sequence, pid, range, out _, FrameKind.StagePages);
        if (checksums)
        {
            length = FrameChecksum.Seal(frame, length);
        }

        lane.Output.Advance(length);
        _unconfirmed.Add((_sequence, pid, range));
        PagesSent += range.PageCount;
        // Zeroes are read into the pipe's memory as well, and may keep a whole block of it each.
        _sinceFlush += Math.Max(length, (long)range.ByteCount);
        _sinceSync += length;
        TimeSpan pause = _bucket.Take(length, _clock.Elapsed);
        if (_sinceFlush >= BytesPerFlush || pause > TimeSpan.Zero)
        {
            lane.Flush();
            _sinceFlush = 0;
        }

        if (pause > TimeSpan.Zero)
        {
            cancellation.WaitHandle.WaitOne(pause);
        }

        if (_sinceSync >= BytesPerSync)
        {
            Sync();
        }
    }

    private ulong AwaitAck()
    {
        while (true)
        {
            ReadResult read = lane.Read();
            ReadOnlySequence<byte> buffer = read.Buffer;
            bool came = FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload);
            if (came && header.Kind == FrameKind.Error)
            {
                throw FrameWriter.ParseError(payload);
            }

            lane.Input.AdvanceTo(buffer.Start, came ? buffer.Start : buffer.End);
            if (came)
            {
                return header.Kind == FrameKind.StageAck && header.Id <= _sequence
                    ? header.Id
                    : throw new ProtocolException(WireErrorCode.ProtocolViolation, $"push lane: a {header.Kind} frame with id {header.Id} came where the word of what was staged was due");
            }

            if (read.IsCompleted)
            {
                throw new IOException("the destination closed the push lane while memory was being copied");
            }
        }
    }
}
