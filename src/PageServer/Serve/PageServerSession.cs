using System.Buffers;
using System.IO.Pipelines;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Wire;

namespace PostCopy.Serve;

/// <summary>
/// Serves the pages of one migration over two lanes: demand (a request, its pages) and push (everything else, in the order of a policy).
/// </summary>
/// <remarks>
/// Each lane is a duplex pipe with a loop of its own; over blocking sockets a loop runs to completion on its own thread. The lanes share nothing
/// but the <see cref="PushPlan"/>, so a push never delays a demanded page by more than the time one frame takes to read.
/// </remarks>
internal sealed class PageServerSession(IPageSource source, PushPlan plan, bool checksums = false, UnreadablePages? unreadable = null)
{
    /// <summary>Looked at for one that can be read, in the place of one that cannot.</summary>
    private const int MaxStandIns = 256;

    /// <summary>
    /// Bytes that may wait for those of the next frames: enough for some pages to share one send, which costs more than reading a page that lies alone; little
    /// enough that a peer that asks for everything at once costs no more memory than this and one frame.
    /// </summary>
    private const int MaxUnsentBytes = 64 << 10;

    /// <summary>A pushed frame, its checksum included, fits into one block of the pipe.</summary>
    private readonly int _pagesPerPush = ProtocolLimits.MaxPagesPerFrame - (checksums ? 1 : 0);

    /// <summary>
    /// Pages of a pushed frame while faults come: to read, send, receive and install a whole one keeps both CPUs of a small machine in the kernel for parts of a
    /// millisecond each, and with them the threads that a fault needs.
    /// </summary>
    private const int PagesPerPushBetweenFaults = 64;

    /// <summary>Frames that are so short behind a fault, 128 MiB: a program that faults at all does so more often. Then long ones are cheaper for all.</summary>
    private const int ShortFramesBehindFault = 512;

    private readonly UnreadablePages _unreadable = unreadable ?? new UnreadablePages();
    private ulong _zeroPages;
    private ulong _pushedPages;
    private ulong _pushedFrames;
    private ulong _acknowledged;

    /// <summary>Pages sent as a zero bit, on either lane.</summary>
    internal ulong ZeroPages => Interlocked.Read(ref _zeroPages);

    /// <summary>Pages sent on the push lane.</summary>
    internal ulong PushedPages => Interlocked.Read(ref _pushedPages);

    /// <summary>Highest push frame that the destination has installed, with all before it.</summary>
    internal ulong Acknowledged => Interlocked.Read(ref _acknowledged);

    /// <summary>
    /// Answers page requests until the peer says goodbye or closes. Returns then; throws <see cref="ProtocolException"/> when the peer asks for
    /// what it is not owed, <see cref="PageSourceException"/> when the memory is gone: neither answers with anything but the true bytes.
    /// </summary>
    internal async Task ServeDemandAsync(IDuplexPipe lane, CancellationToken cancellation)
    {
        while (true)
        {
            ReadResult read = await lane.Input.ReadAsync(cancellation).ConfigureAwait(false);
            ReadOnlySequence<byte> buffer = read.Buffer;
            int unsent = 0;
            while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                switch (header.Kind)
                {
                    case FrameKind.Goodbye:
                        return;
                    case FrameKind.Error:
                        throw FrameWriter.ParseError(payload);
                    case FrameKind.PageRequest:
                        unsent += Answer(lane.Output, header.Id, PageRequest.Parse(payload));
                        break;
                    default:
                        throw new ProtocolException(WireErrorCode.ProtocolViolation, $"a {header.Kind} frame has no place on the demand lane");
                }

                if (unsent > MaxUnsentBytes)
                {
                    await lane.Output.FlushAsync(cancellation).ConfigureAwait(false);
                    unsent = 0;
                }
            }

            lane.Input.AdvanceTo(buffer.Start, buffer.End);
            FlushResult flushed = await lane.Output.FlushAsync(cancellation).ConfigureAwait(false);
            if (read.IsCompleted || flushed.IsCompleted)
            {
                return;
            }
        }
    }

    /// <summary>
    /// Pushes until nothing is unsent, says so, and returns. Back-pressure is the pipe's: a flush that does not complete holds the loop.
    /// </summary>
    internal async Task PushAsync(PipeWriter output, CancellationToken cancellation)
    {
        ulong sequence = 0;
        ulong requests = 0;
        int unsent = 0;
        // Faults are to be expected right behind the restore.
        int shortFrames = ShortFramesBehindFault;
        while (true)
        {
            ulong now = plan.Requests;
            shortFrames = now != requests ? ShortFramesBehindFault : Math.Max(0, shortFrames - 1);
            requests = now;
            if (!plan.TryTake(shortFrames > 0 ? PagesPerPushBetweenFaults : _pagesPerPush, out ImagePid pid, out PageRange run))
            {
                break;
            }

            unsent += PushRun(output, ref sequence, pid, run);
            if (unsent <= MaxUnsentBytes)
            {
                continue;
            }

            await SendAsync(output, cancellation).ConfigureAwait(false);
            unsent = 0;
        }

        FrameWriter.WriteEmpty(output, FrameKind.PushDone, sequence);
        await SendAsync(output, cancellation).ConfigureAwait(false);
    }

    /// <summary>Reads the destination's acknowledgements of pushed frames until it closes the lane.</summary>
    internal async Task ReadAcknowledgementsAsync(PipeReader input, CancellationToken cancellation)
    {
        while (true)
        {
            ReadResult read = await input.ReadAsync(cancellation).ConfigureAwait(false);
            ReadOnlySequence<byte> buffer = read.Buffer;
            while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                ulong pushed = Interlocked.Read(ref _pushedFrames);
                switch (header.Kind)
                {
                    case FrameKind.Goodbye:
                        return;
                    case FrameKind.Error:
                        throw FrameWriter.ParseError(payload);
                    case FrameKind.Ack when header.Id >= _acknowledged && header.Id <= pushed:
                        Interlocked.Exchange(ref _acknowledged, header.Id);
                        break;
                    case FrameKind.Ack:
                        throw new ProtocolException(WireErrorCode.ProtocolViolation, $"acknowledgement {header.Id} is not between the last one, {_acknowledged}, and the last frame pushed, {pushed}");
                    default:
                        throw new ProtocolException(WireErrorCode.ProtocolViolation, $"a {header.Kind} frame has no place on the push lane");
                }
            }

            input.AdvanceTo(buffer.Start, buffer.End);
            if (read.IsCompleted)
            {
                return;
            }
        }
    }

    private static async ValueTask SendAsync(PipeWriter push, CancellationToken cancellation)
    {
        FlushResult flushed = await push.FlushAsync(cancellation).ConfigureAwait(false);
        if (flushed.IsCompleted)
        {
            throw new IOException("the destination closed the push lane before all pages were sent");
        }
    }

    /// <summary>In one frame, or around pages that cannot be read in as many as it takes. Returns as <see cref="WritePages"/>.</summary>
    private int PushRun(PipeWriter output, ref ulong sequence, ImagePid pid, PageRange run)
    {
        int written = 0;
        while (run.PageCount > 0)
        {
            written += WritePages(output, sequence + 1, pid, run, out ulong pages);
            if (pages == 0)
            {
                _unreadable.Add(pid, run.Start);
                run = Behind(run, 1);
                continue;
            }

            Interlocked.Exchange(ref _pushedFrames, ++sequence);
            Interlocked.Add(ref _pushedPages, pages);
            run = Behind(run, pages);
        }

        return written;
    }

    private int Answer(PipeWriter output, ulong requestId, PageRequest request)
    {
        if (!plan.TryDemand(request.Pid, request.Range))
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"request {requestId} asks for {request.Range} of process {request.Pid}, which this session does not owe");
        }

        for (PageRange left = request.Range; left.PageCount > 0; left = Behind(left, 1))
        {
            int written = WritePages(output, requestId, request.Pid, left, out ulong pages);
            if (pages > 0)
            {
                left = Behind(left, pages);
                if (left.PageCount > 0)
                {
                    // One frame is the answer; what lies behind the hole in it comes with the push.
                    _unreadable.Add(request.Pid, left.Start);
                    plan.Unsend(request.Pid, left);
                }

                return written;
            }

            _unreadable.Add(request.Pid, left.Start);
        }

        return AnswerWithAnother(output, requestId, request);
    }

    /// <summary>
    /// Without an answer to this request none of the next would count: so it is another page that is owed, the bytes of which are as true and as welcome.
    /// </summary>
    private int AnswerWithAnother(PipeWriter output, ulong requestId, PageRequest request)
    {
        foreach ((ImagePid pid, PageRange page) in plan.FirstPages.Take(MaxStandIns))
        {
            int written = WritePages(output, requestId, pid, page, out ulong pages);
            if (pages > 0)
            {
                return written;
            }
        }

        throw new PageSourceException($"page {request.Range.Start:x} of process {request.Pid} cannot be read on the source although the images owe it");
    }

    /// <summary>
    /// Writes a frame with the pages from the first to the last that can be read; none when the first cannot. Returns how much of the pipe's memory it may take: a
    /// page of zeroes is a bit in it, but was read into it as a whole.
    /// </summary>
    private int WritePages(PipeWriter output, ulong id, ImagePid pid, PageRange range, out ulong pages)
    {
        int bytes = (int)range.ByteCount;
        Span<byte> frame = output.GetSpan(PagesFrame.PrefixBytes + bytes + (checksums ? FrameChecksum.Bytes : 0));
        Span<byte> content = frame.Slice(PagesFrame.PrefixBytes, bytes);
        int read = source.Read(pid, range.Start, content);
        if (read == 0)
        {
            // What cannot be read twice, of a task that lives, is nothing that passes.
            read = source.Read(pid, range.Start, content[..PageSize.Bytes]);
        }

        pages = (ulong)(read >> PageSize.Shift);
        if (pages == 0)
        {
            return 0;
        }

        int length = PagesFrame.Finish(frame, id, pid, range with { PageCount = pages }, out int zeroPages);
        if (checksums)
        {
            length = FrameChecksum.Seal(frame, length);
        }

        output.Advance(length);
        Interlocked.Add(ref _zeroPages, (ulong)zeroPages);
        return Math.Max(length, read);
    }

    private static PageRange Behind(PageRange range, ulong pages) => new(range.Start + PageSize.ToBytes(pages), range.PageCount - pages);
}
