using System.Buffers;
using System.Buffers.Binary;
using PostCopy.Memory;

namespace PostCopy.Wire;

/// <summary>Asks for pages at once: the destination's program is waiting for them. The answer is one pages frame with the same id.</summary>
/// <remarks>
/// <code>
///  0     4       8                16
///  +-----+-------+----------------+
///  | pid | pages |     address    |   dump-time address, page aligned
///  +-----+-------+----------------+
/// </code>
/// </remarks>
internal readonly record struct PageRequest(ImagePid Pid, PageRange Range)
{
    internal const int Bytes = 16;

    internal void Write(Span<byte> destination)
    {
        BinaryPrimitives.WriteInt32LittleEndian(destination, Pid.Value);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[4..], (uint)Range.PageCount);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[8..], Range.Start);
    }

    internal static PageRequest Parse(in ReadOnlySequence<byte> payload)
    {
        if (payload.Length != Bytes)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"page request: length {payload.Length} is not {Bytes}");
        }

        Span<byte> bytes = stackalloc byte[Bytes];
        payload.CopyTo(bytes);
        return new PageRequest(new ImagePid(BinaryPrimitives.ReadInt32LittleEndian(bytes)), ParseRange(bytes[4..], "page request"));
    }

    /// <summary>A page count and an address, as requests and pages frames carry them.</summary>
    internal static PageRange ParseRange(ReadOnlySpan<byte> bytes, string frame)
    {
        uint pages = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        ulong address = BinaryPrimitives.ReadUInt64LittleEndian(bytes[4..]);
        if (pages is 0 or > ProtocolLimits.MaxPagesPerFrame)
        {
            throw new ProtocolException(WireErrorCode.TooLarge, $"{frame}: {pages} pages are not between 1 and {ProtocolLimits.MaxPagesPerFrame}");
        }

        if (!PageSize.IsAligned(address) || address > ulong.MaxValue - PageSize.ToBytes(pages))
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"{frame}: address {address:x} is not page aligned or wraps around");
        }

        return new PageRange(address, pages);
    }
}
