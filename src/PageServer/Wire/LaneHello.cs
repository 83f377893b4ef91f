using System.Buffers.Binary;

namespace PostCopy.Wire;

/// <summary>The listener's first word on a lane.</summary>
/// <remarks>
/// <code>
///  0       4         6         8              24
///  +-------+---------+---------+--------------+
///  | magic | oldest  | newest  | nonce (16)   |
///  +-------+---------+---------+--------------+
/// </code>
/// </remarks>
internal readonly record struct Welcome(ushort OldestVersion, ushort NewestVersion, ReadOnlyMemory<byte> Nonce)
{
    internal const int Bytes = 24;

    /// <summary>"PCPY".</summary>
    internal const uint Magic = 0x59504350;

    internal byte[] ToPayload()
    {
        byte[] payload = new byte[Bytes];
        BinaryPrimitives.WriteUInt32LittleEndian(payload, Magic);
        BinaryPrimitives.WriteUInt16LittleEndian(payload.AsSpan(4), OldestVersion);
        BinaryPrimitives.WriteUInt16LittleEndian(payload.AsSpan(6), NewestVersion);
        Nonce.Span.CopyTo(payload.AsSpan(8));
        return payload;
    }

    internal static Welcome Parse(ReadOnlySpan<byte> payload)
    {
        if (payload.Length != Bytes || BinaryPrimitives.ReadUInt32LittleEndian(payload) != Magic)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, "welcome: this is no postcopy agent");
        }

        return new Welcome(BinaryPrimitives.ReadUInt16LittleEndian(payload[4..]), BinaryPrimitives.ReadUInt16LittleEndian(payload[6..]), payload[8..].ToArray());
    }
}

/// <summary>The dialler's answer: who it is, and proof that it knows the token.</summary>
/// <remarks>
/// <code>
///  0         2      3        4           8       12          28              44           76
///  +---------+------+--------+-----------+-------+-----------+---------------+------------+
///  | version | role |   0    | page size | epoch |  session  |  nonce (16)   |  MAC (32)  |
///  +---------+------+--------+-----------+-------+-----------+---------------+------------+
/// </code>
/// MAC is HMAC-SHA-256 under the token over both nonces and everything in front of it: the token itself never travels.
/// </remarks>
internal readonly record struct LaneHello(ushort Version, LaneRole Role, uint PageSizeBytes, uint Epoch, SessionToken Session, ReadOnlyMemory<byte> Nonce, ReadOnlyMemory<byte> Mac)
{
    /// <summary>The epoch of a session's first connection; every later one is larger than all before.</summary>
    internal const uint FirstEpoch = 1;

    internal const int Bytes = SignedBytes + MacBytes;
    internal const int SignedBytes = 44;
    internal const int NonceBytes = 16;
    internal const int MacBytes = 32;

    internal byte[] ToPayload()
    {
        byte[] payload = new byte[Bytes];
        BinaryPrimitives.WriteUInt16LittleEndian(payload, Version);
        payload[2] = (byte)Role;
        BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(4), PageSizeBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(payload.AsSpan(8), Epoch);
        Session.Write(payload.AsSpan(12));
        Nonce.Span.CopyTo(payload.AsSpan(28));
        Mac.Span.CopyTo(payload.AsSpan(SignedBytes));
        return payload;
    }

    internal static LaneHello Parse(ReadOnlySpan<byte> payload)
    {
        // The version stands first and is judged first: what follows may look different in another one.
        if (payload.Length < 2 || BinaryPrimitives.ReadUInt16LittleEndian(payload) != ProtocolLimits.Version)
        {
            throw new ProtocolException(WireErrorCode.Version, $"hello: this side speaks protocol version {ProtocolLimits.Version}, the peer asks for another");
        }

        if (payload.Length != Bytes || payload[3] != 0 || payload[2] is < (byte)LaneRole.Control or > (byte)LaneRole.Push)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"hello: length {payload.Length} is not {Bytes}, or its lane role is unknown");
        }

        return new LaneHello(
            BinaryPrimitives.ReadUInt16LittleEndian(payload),
            (LaneRole)payload[2],
            BinaryPrimitives.ReadUInt32LittleEndian(payload[4..]),
            BinaryPrimitives.ReadUInt32LittleEndian(payload[8..]),
            SessionToken.Parse(payload[12..28]),
            payload[28..SignedBytes].ToArray(),
            payload[SignedBytes..].ToArray());
    }
}
