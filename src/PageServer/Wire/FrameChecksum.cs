using System.Buffers;
using System.Buffers.Binary;
using System.IO.Hashing;

namespace PostCopy.Wire;

/// <summary>
/// Eight bytes behind a pages frame: XXH3 of its header and all of its payload in front of them. Both sides know from Prepare that they are there. They tell
/// of damage (a faulty memory or network card, an error in a program between), not of an attacker: that is what TLS is for.
/// </summary>
/// <remarks>One instance opens one lane's frames, on one thread.</remarks>
internal sealed class FrameChecksum
{
    internal const int Bytes = 8;

    private readonly XxHash3 _hash = new();

    /// <summary>Appends the checksum to a finished frame, which must have room for it behind its end.</summary>
    /// <returns>Bytes of the frame now.</returns>
    internal static int Seal(Span<byte> frame, int length)
    {
        FrameHeader header = FrameHeader.Parse(frame);
        (header with { PayloadBytes = header.PayloadBytes + Bytes }).Write(frame);
        BinaryPrimitives.WriteUInt64LittleEndian(frame[length..], XxHash3.HashToUInt64(frame[..length]));
        return length + Bytes;
    }

    /// <summary>The payload without its checksum. Throws <see cref="ProtocolException"/> when that does not fit.</summary>
    internal ReadOnlySequence<byte> Open(in FrameHeader header, in ReadOnlySequence<byte> payload)
    {
        if (payload.Length < Bytes)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"pages frame: length {payload.Length} leaves no room for a checksum");
        }

        ReadOnlySequence<byte> body = payload.Slice(0, payload.Length - Bytes);
        Span<byte> bytes = stackalloc byte[FrameHeader.Bytes];
        header.Write(bytes);
        _hash.Append(bytes);
        foreach (ReadOnlyMemory<byte> segment in body)
        {
            _hash.Append(segment.Span);
        }

        ulong computed = _hash.GetCurrentHashAsUInt64();
        _hash.Reset();
        Span<byte> sent = bytes[..Bytes];
        payload.Slice(body.End).CopyTo(sent);
        return computed == BinaryPrimitives.ReadUInt64LittleEndian(sent)
            ? body
            : throw new ProtocolException(WireErrorCode.Damaged, $"pages frame {header.Id}: the checksum does not fit, so it was damaged on the way");
    }
}
