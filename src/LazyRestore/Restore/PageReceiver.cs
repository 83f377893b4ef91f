using System.Buffers;
using System.IO.Pipelines;
using PostCopy.Faults;
using PostCopy.Memory;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Restore;

/// <summary>Receives pages on one lane and puts them in place: a loop for a thread of its own.</summary>
internal sealed class PageReceiver(SocketLane lane, LazyMemory memory, bool checksums = false)
{
    /// <summary>Push frames between two acknowledgements: 16 MiB at most. They tell the source what need not be sent again after a broken connection.</summary>
    private const int FramesPerAck = 16;

    private readonly FrameChecksum? _checksum = checksums ? new FrameChecksum() : null;
    private readonly byte[] _straddling = GC.AllocateArray<byte>(PageSize.Bytes, pinned: true);

    /// <summary>Until the source says goodbye or closes the lane. Throws <see cref="ProtocolException"/> when it sends what has no place there.</summary>
    internal void ReceiveAnswers(DemandLane demand) => Receive((in FrameHeader header, in ReadOnlySequence<byte> payload) =>
    {
        if (header.Kind != FrameKind.Pages)
        {
            throw Misplaced(header, "demand");
        }

        // First of all the page, for which a task waits.
        Install(header, payload);
        demand.Answered(lane, header.Id);
    });

    /// <summary>Until the source says goodbye or closes the lane. Frames must come in sequence.</summary>
    internal void ReceivePush()
    {
        ulong last = 0;
        Receive((in FrameHeader header, in ReadOnlySequence<byte> payload) =>
        {
            switch (header.Kind)
            {
                case FrameKind.Pages when header.Id == last + 1:
                    Install(header, payload);
                    last = header.Id;
                    if (last % FramesPerAck == 0)
                    {
                        Acknowledge(last);
                    }

                    break;
                case FrameKind.PushDone when header.Id == last:
                    Acknowledge(last);
                    break;
                default:
                    throw Misplaced(header, "push");
            }
        });
    }

    private delegate void FrameHandler(in FrameHeader header, in ReadOnlySequence<byte> payload);

    private void Receive(FrameHandler handle)
    {
        while (true)
        {
            ReadResult read = lane.Read();
            ReadOnlySequence<byte> buffer = read.Buffer;
            while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                switch (header.Kind)
                {
                    case FrameKind.Goodbye:
                        return;
                    case FrameKind.Error:
                        throw FrameWriter.ParseError(payload);
                    default:
                        handle(header, payload);
                        break;
                }
            }

            lane.Input.AdvanceTo(buffer.Start, buffer.End);
            if (read.IsCompleted)
            {
                return;
            }
        }
    }

    private void Install(in FrameHeader header, in ReadOnlySequence<byte> payload)
    {
        PagesFrame.Parse(_checksum is null ? payload : _checksum.Open(header, payload), out ImagePid pid, out PageRange range, out PagesFrame.ZeroBitmap zero, out ReadOnlySequence<byte> data);
        int end = (int)range.PageCount;
        for (int page = 0; page < end;)
        {
            int pages = zero.RunLength(page, end);
            PageRange run = new(range.Start + PageSize.ToBytes((ulong)page), (ulong)pages);
            if (zero[page])
            {
                memory.InstallZero(pid, run);
            }
            else
            {
                InstallData(pid, run, ref data);
            }

            page += pages;
        }
    }

    private void InstallData(ImagePid pid, PageRange run, ref ReadOnlySequence<byte> data)
    {
        while (run.PageCount > 0)
        {
            ulong pages = Math.Min(run.PageCount, (ulong)data.FirstSpan.Length >> PageSize.Shift);
            if (pages > 0)
            {
                memory.Install(pid, run with { PageCount = pages }, data.FirstSpan[..(int)PageSize.ToBytes(pages)]);
            }
            else
            {
                // A page that lies in two segments of the pipe.
                pages = 1;
                data.Slice(0, PageSize.Bytes).CopyTo(_straddling);
                memory.Install(pid, run with { PageCount = 1 }, _straddling);
            }

            data = data.Slice((long)PageSize.ToBytes(pages));
            run = new PageRange(run.Start + PageSize.ToBytes(pages), run.PageCount - pages);
        }
    }

    private void Acknowledge(ulong sequence)
    {
        FrameWriter.WriteEmpty(lane.Output, FrameKind.Ack, sequence);
        lane.Flush();
    }

    private static ProtocolException Misplaced(in FrameHeader header, string laneName) =>
        new(WireErrorCode.ProtocolViolation, $"{laneName} lane: a {header.Kind} frame with id {header.Id} is out of place or out of sequence");
}
