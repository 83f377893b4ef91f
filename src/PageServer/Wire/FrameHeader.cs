using System.Buffers.Binary;

namespace PostCopy.Wire;

/// <summary>The 16 bytes in front of every frame, little-endian.</summary>
/// <remarks>
/// <code>
///  0        4     6     8                16
///  +--------+-----+-----+----------------+
///  | length | kind|  0  |       id       |  then `length` bytes of payload
///  +--------+-----+-----+----------------+
/// </code>
/// </remarks>
/// <param name="Kind">What the payload is.</param>
/// <param name="Id">A request's id, repeated in its answer; a push frame's sequence number; else 0.</param>
/// <param name="PayloadBytes">Length of the payload.</param>
internal readonly record struct FrameHeader(FrameKind Kind, ulong Id, int PayloadBytes)
{
    /// <summary>Size on the wire.</summary>
    internal const int Bytes = 16;

    internal void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, (uint)PayloadBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[4..], (ushort)Kind);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[6..], 0);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], Id);
    }

    /// <summary>Throws <see cref="ProtocolException"/> when the kind is unknown, the length is beyond the kind's limit or the reserved bytes are not 0.</summary>
    internal static FrameHeader Parse(ReadOnlySpan<byte> source)
    {
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(source);
        FrameKind kind = (FrameKind)BinaryPrimitives.ReadUInt16LittleEndian(source[4..]);
        int limit = PayloadLimit(kind);
        if (limit < 0 || BinaryPrimitives.ReadUInt16LittleEndian(source[6..]) != 0)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"frame header: kind {(ushort)kind} with reserved {BinaryPrimitives.ReadUInt16LittleEndian(source[6..])} is unknown");
        }

        if (length > (uint)limit)
        {
            throw new ProtocolException(WireErrorCode.TooLarge, $"frame header: length {length} of a {kind} frame is beyond its limit of {limit}");
        }

        return new FrameHeader(kind, BinaryPrimitives.ReadUInt64LittleEndian(source[8..]), (int)length);
    }

    private static int PayloadLimit(FrameKind kind) => kind switch
    {
        FrameKind.Welcome or FrameKind.Hello or FrameKind.HelloAck => ProtocolLimits.MaxOpeningPayloadBytes,
        FrameKind.Error => ProtocolLimits.MaxErrorTextBytes + 2,
        FrameKind.Goodbye or FrameKind.PushDone or FrameKind.Ack or FrameKind.StageSync or FrameKind.StageAck or FrameKind.StageDone => 0,
        FrameKind.Heartbeat => ProtocolLimits.HeartbeatBytes,
        FrameKind.HeartbeatAck => 2 * ProtocolLimits.HeartbeatBytes,
        FrameKind.Ask or FrameKind.Discarded or FrameKind.CheckRequest or FrameKind.Freezing => 0,
        >= FrameKind.Prepare and <= FrameKind.MemoryLost => ProtocolLimits.MaxControlPayloadBytes,
        FrameKind.PageRequest => PageRequest.Bytes,
        FrameKind.Valid => ValidFrame.MaxPayloadBytes,
        FrameKind.Pages or FrameKind.StagePages => PagesFrame.MaxPayloadBytes + FrameChecksum.Bytes,
        _ => -1,
    };
}
