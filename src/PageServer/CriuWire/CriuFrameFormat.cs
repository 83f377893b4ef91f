using System.Buffers.Binary;
using PostCopy.Memory;

namespace PostCopy.CriuWire;

/// <summary>The two sizes of CRIU's frame. Nothing on the wire says which one a peer speaks.</summary>
/// <remarks>
/// Little-endian, without a hello or a version:
/// <code>
/// to 4.1 (24 bytes)   u32 command   u32 pages                  u64 address   u64 id
/// since 4.2 (32)      u32 command   u32 padding   u64 pages    u64 address   u64 id
///
/// client   GET*  CLOSE
/// server   for each GET in order: ADD_F with the number of pages that follow (at least 1, at most as asked), then those pages; for CLOSE int32 0
/// </code>
/// </remarks>
internal sealed class CriuFrameFormat
{
    internal static readonly CriuFrameFormat UpTo41 = new(24);
    internal static readonly CriuFrameFormat Since42 = new(32);

    /// <summary>Bytes of the longest frame.</summary>
    internal const int MaxBytes = 32;

    private CriuFrameFormat(int bytes) => Bytes = bytes;

    /// <summary>Bytes of a frame.</summary>
    internal int Bytes { get; }

    /// <summary>The format a client speaks, from the first <see cref="UpTo41"/>.<see cref="Bytes"/> bytes it sent: in the wrong one they ask for nonsense.</summary>
    /// <param name="first">The bytes.</param>
    /// <param name="isListed">Whether there is such a page.</param>
    internal static CriuFrameFormat Recognise(ReadOnlySpan<byte> first, Func<ImagePid, ulong, bool> isListed)
    {
        CriuFrame frame = UpTo41.Read(first);
        bool asksForWhatIs = frame.Command == CriuFrameCommand.Get && frame.PageCount > 0 && frame.Id is > 0 and <= int.MaxValue && isListed(new ImagePid((int)frame.Id), frame.Address);
        // A close is the same in both, but for trailing bytes that nobody waits for.
        return asksForWhatIs || frame.IsClose ? UpTo41 : Since42;
    }

    internal CriuFrame Read(ReadOnlySpan<byte> bytes)
    {
        uint command = BinaryPrimitives.ReadUInt32LittleEndian(bytes);
        ulong pages = this == Since42 ? BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]) : BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]);
        return new CriuFrame(command, pages, BinaryPrimitives.ReadUInt64LittleEndian(bytes[(Bytes - 16)..]), BinaryPrimitives.ReadUInt64LittleEndian(bytes[(Bytes - 8)..]));
    }

    internal void Write(Span<byte> bytes, in CriuFrame frame)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, frame.Command);
        if (this == Since42)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], 0);
            BinaryPrimitives.WriteUInt64LittleEndian(bytes[8..], frame.PageCount);
        }
        else
        {
            BinaryPrimitives.WriteUInt32LittleEndian(bytes[4..], checked((uint)frame.PageCount));
        }

        BinaryPrimitives.WriteUInt64LittleEndian(bytes[(Bytes - 16)..], frame.Address);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[(Bytes - 8)..], frame.Id);
    }
}
