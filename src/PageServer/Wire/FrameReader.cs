using System.Buffers;

namespace PostCopy.Wire;

/// <summary>Cuts a byte stream into frames. Pure: no I/O, and nothing is copied but a header that straddles two segments.</summary>
internal static class FrameReader
{
    /// <summary>
    /// Takes one whole frame off the front of <paramref name="buffer"/>. False when it is not complete yet; a header that can only be wrong throws
    /// <see cref="ProtocolException"/> without waiting for its payload.
    /// </summary>
    internal static bool TryReadFrame(ref ReadOnlySequence<byte> buffer, out FrameHeader header, out ReadOnlySequence<byte> payload)
    {
        if (!TryReadHeader(buffer, out header) || buffer.Length < FrameHeader.Bytes + header.PayloadBytes)
        {
            payload = default;
            return false;
        }

        payload = buffer.Slice(FrameHeader.Bytes, header.PayloadBytes);
        buffer = buffer.Slice(payload.End);
        return true;
    }

    private static bool TryReadHeader(in ReadOnlySequence<byte> buffer, out FrameHeader header)
    {
        if (buffer.FirstSpan.Length >= FrameHeader.Bytes)
        {
            header = FrameHeader.Parse(buffer.FirstSpan);
            return true;
        }

        if (buffer.Length < FrameHeader.Bytes)
        {
            header = default;
            return false;
        }

        Span<byte> bytes = stackalloc byte[FrameHeader.Bytes];
        buffer.Slice(0, FrameHeader.Bytes).CopyTo(bytes);
        header = FrameHeader.Parse(bytes);
        return true;
    }
}
