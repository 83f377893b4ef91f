using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using System.Text.Unicode;

namespace PostCopy.Wire;

/// <summary>Writes the small frames. Pure: into any buffer writer, no I/O.</summary>
internal static class FrameWriter
{
    /// <summary>A frame without payload.</summary>
    internal static void WriteEmpty(IBufferWriter<byte> output, FrameKind kind, ulong id = 0) => Begin(output, kind, id, 0);

    /// <summary>A frame around a payload that exists already.</summary>
    internal static void Write(IBufferWriter<byte> output, FrameKind kind, ulong id, ReadOnlySpan<byte> payload)
    {
        Span<byte> body = Begin(output, kind, id, payload.Length);
        payload.CopyTo(body);
    }

    /// <summary>The beginning of a frame whose payload the caller writes, as many bytes as are said here.</summary>
    internal static void WriteHeader(IBufferWriter<byte> output, FrameKind kind, ulong id, int payloadBytes)
    {
        new FrameHeader(kind, id, payloadBytes).Write(output.GetSpan(FrameHeader.Bytes));
        output.Advance(FrameHeader.Bytes);
    }

    /// <summary>
    /// <code>
    ///  0      2
    ///  +------+------------------+
    ///  | code | UTF-8 text       |
    ///  +------+------------------+
    /// </code>
    /// </summary>
    internal static void WriteError(IBufferWriter<byte> output, WireErrorCode code, string text)
    {
        Span<byte> shown = stackalloc byte[ProtocolLimits.MaxErrorTextBytes];
        // What does not fit is left out, by whole characters.
        Utf8.FromUtf16(text, shown, out _, out int bytes);
        shown = shown[..bytes];
        Span<byte> body = Begin(output, FrameKind.Error, 0, shown.Length + 2);
        BinaryPrimitives.WriteUInt16LittleEndian(body, (ushort)code);
        shown.CopyTo(body[2..]);
    }

    /// <summary>The peer's last word as an exception to throw.</summary>
    internal static ProtocolException ParseError(in ReadOnlySequence<byte> payload)
    {
        ReadOnlySpan<byte> bytes = payload.IsSingleSegment ? payload.FirstSpan : payload.ToArray();
        return bytes.Length < 2
            ? new ProtocolException(WireErrorCode.ProtocolViolation, $"error frame: length {bytes.Length} leaves no room for a code")
            : new ProtocolException((WireErrorCode)BinaryPrimitives.ReadUInt16LittleEndian(bytes), "the peer says: " + PrintableText.Of(Encoding.UTF8.GetString(bytes[2..]), ProtocolLimits.MaxErrorTextBytes), saidByPeer: true);
    }

    /// <summary>A page request, see <see cref="PageRequest"/>.</summary>
    internal static void WritePageRequest(IBufferWriter<byte> output, ulong id, PageRequest request) =>
        request.Write(Begin(output, FrameKind.PageRequest, id, PageRequest.Bytes));

    private static Span<byte> Begin(IBufferWriter<byte> output, FrameKind kind, ulong id, int payloadBytes)
    {
        int bytes = FrameHeader.Bytes + payloadBytes;
        Span<byte> frame = output.GetSpan(bytes)[..bytes];
        new FrameHeader(kind, id, payloadBytes).Write(frame);
        output.Advance(bytes);
        return frame[FrameHeader.Bytes..];
    }
}
