using System.Buffers;
using System.Buffers.Binary;
using PostCopy.Memory;

namespace PostCopy.Wire;

/// <summary>Pages copied before the freeze that were not written since: they may be put in place. All others are owed.</summary>
/// <remarks>
/// <code>
///  0     4       8                16               24
///  +-----+-------+----------------+----------------+----
///  | pid | count |    address     |     pages      | ...   count times address and pages
///  +-----+-------+----------------+----------------+----
/// </code>
/// </remarks>
internal static class ValidFrame
{
    internal const int MaxPayloadBytes = PrefixBytes + (ProtocolLimits.MaxValidRanges * RangeBytes);

    private const int PrefixBytes = 8;
    private const int RangeBytes = 16;

    internal static void Write(IBufferWriter<byte> output, ImagePid pid, ReadOnlySpan<PageRange> ranges)
    {
        byte[] payload = new byte[PrefixBytes + (ranges.Length * RangeBytes)];
        BinaryPrimitives.WriteInt32LittleEndian(payload, pid.Value);
        BinaryPrimitives.WriteInt32LittleEndian(payload.AsSpan(4), ranges.Length);
        for (int i = 0; i < ranges.Length; i++)
        {
            Span<byte> at = payload.AsSpan(PrefixBytes + (i * RangeBytes));
            BinaryPrimitives.WriteUInt64LittleEndian(at, ranges[i].Start);
            BinaryPrimitives.WriteUInt64LittleEndian(at[8..], ranges[i].PageCount);
        }

        FrameWriter.Write(output, FrameKind.Valid, 0, payload);
    }

    /// <summary>Throws <see cref="ProtocolException"/> for what is no list of ranges.</summary>
    internal static (ImagePid Pid, PageRange[] Ranges) Parse(in ReadOnlySequence<byte> payload)
    {
        byte[] bytes = payload.ToArray();
        uint count = bytes.Length >= PrefixBytes ? BinaryPrimitives.ReadUInt32LittleEndian(bytes.AsSpan(4)) : 0;
        if (bytes.Length < PrefixBytes || count > ProtocolLimits.MaxValidRanges || bytes.Length != PrefixBytes + ((int)count * RangeBytes))
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"valid frame: length {bytes.Length} does not fit {count} ranges");
        }

        PageRange[] ranges = new PageRange[count];
        for (int i = 0; i < ranges.Length; i++)
        {
            ReadOnlySpan<byte> at = bytes.AsSpan(PrefixBytes + (i * RangeBytes));
            ulong start = BinaryPrimitives.ReadUInt64LittleEndian(at);
            ulong pages = BinaryPrimitives.ReadUInt64LittleEndian(at[8..]);
            if (pages == 0 || !PageSize.IsAligned(start) || pages > (ulong.MaxValue - start) >> PageSize.Shift)
            {
                throw new ProtocolException(WireErrorCode.ProtocolViolation, $"valid frame: {pages} pages at {start:x} are no range of pages");
            }

            ranges[i] = new PageRange(start, pages);
        }

        return (new ImagePid(BinaryPrimitives.ReadInt32LittleEndian(bytes)), ranges);
    }
}
