using System.Buffers;
using System.IO.Pipelines;
using PostCopy.Memory;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Staging;

/// <summary>Receives what a source sends on the push lane before the freeze, and behind it which of that is valid.</summary>
internal sealed class StagingReceiver(SocketLane lane, StagedMemory staged, bool checksums)
{
    private readonly FrameChecksum? _checksum = checksums ? new FrameChecksum() : null;
    private readonly byte[] _page = new byte[PageSize.Bytes];
    private ulong _last;
    private ulong _taken;
    private bool _isFull;

    /// <summary>
    /// Until the source has said everything: true, and the lane is the push's. False when the lane ended before. Throws <see cref="ProtocolException"/> for what has
    /// no place here.
    /// </summary>
    internal bool Receive()
    {
        while (true)
        {
            ReadResult read = lane.Read();
            ReadOnlySequence<byte> buffer = read.Buffer;
            while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                switch (header.Kind)
                {
                    case FrameKind.StageDone:
                        staged.Complete();
                        lane.Input.AdvanceTo(buffer.Start);
                        return true;
                    case FrameKind.Goodbye:
                        return false;
                    default:
                        Handle(header, payload);
                        break;
                }
            }

            lane.Input.AdvanceTo(buffer.Start, buffer.End);
            if (read.IsCompleted)
            {
                return false;
            }
        }
    }

    private void Handle(in FrameHeader header, in ReadOnlySequence<byte> payload)
    {
        switch (header.Kind)
        {
            case FrameKind.StagePages when header.Id == _last + 1:
                _last = header.Id;
                Keep(header, payload);
                break;
            case FrameKind.StageSync when header.Id == _last:
                FrameWriter.WriteEmpty(lane.Output, FrameKind.StageAck, _taken);
                lane.Flush();
                break;
            case FrameKind.Valid:
                (ImagePid pid, PageRange[] ranges) = ValidFrame.Parse(payload);
                Array.ForEach(ranges, range => staged.MarkValid(pid, range));
                break;
            case FrameKind.Error:
                throw FrameWriter.ParseError(payload);
            default:
                throw new ProtocolException(WireErrorCode.ProtocolViolation, $"push lane: a {header.Kind} frame with id {header.Id} is out of place or out of sequence before the freeze");
        }
    }

    /// <summary>Of a frame that does not fit, and of all that follow, nothing counts as taken: the source hears the last one that does.</summary>
    private void Keep(in FrameHeader header, in ReadOnlySequence<byte> payload)
    {
        PagesFrame.Parse(_checksum is null ? payload : _checksum.Open(header, payload), out ImagePid pid, out PageRange range, out PagesFrame.ZeroBitmap zero, out ReadOnlySequence<byte> data);
        for (int page = 0; page < (int)range.PageCount && !_isFull; page++)
        {
            ulong address = range.Start + PageSize.ToBytes((ulong)page);
            if (zero[page])
            {
                _isFull = !staged.TryPut(pid, address, []);
                continue;
            }

            ReadOnlySpan<byte> bytes = data.FirstSpan;
            if (bytes.Length < PageSize.Bytes)
            {
                data.Slice(0, PageSize.Bytes).CopyTo(_page);
                bytes = _page;
            }

            _isFull = !staged.TryPut(pid, address, bytes[..PageSize.Bytes]);
            data = data.Slice(PageSize.Bytes);
        }

        _taken = _isFull ? _taken : header.Id;
    }
}
