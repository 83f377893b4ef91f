using System.Buffers;
using System.Buffers.Binary;
using System.Numerics;
using PostCopy.Memory;

namespace PostCopy.Wire;

/// <summary>A run of pages: an answer on the demand lane (id of its request), or a step of the push (its sequence number).</summary>
/// <remarks>
/// <code>
///  0     4       8                16                      48
///  +-----+-------+----------------+-----------------------+----------------------------
///  | pid | pages |     address    | zero bitmap, 256 bits | bytes of the other pages...
///  +-----+-------+----------------+-----------------------+----------------------------
/// </code>
/// A set bit n says that page n is full of zeroes and that its bytes were left out. Bits behind the last page are 0. With the frame header this
/// makes 64 bytes in front of the data.
/// </remarks>
internal static class PagesFrame
{
    /// <summary>Frame header and prefix: what stands in front of the pages' bytes.</summary>
    internal const int PrefixBytes = FrameHeader.Bytes + BodyPrefixBytes;

    private const int BodyPrefixBytes = 16 + BitmapBytes;
    private const int BitmapBytes = ProtocolLimits.MaxPagesPerFrame / 8;

    /// <summary>Longest payload.</summary>
    internal static readonly int MaxPayloadBytes = BodyPrefixBytes + (ProtocolLimits.MaxPagesPerFrame * PageSize.Bytes);

    /// <summary>
    /// Completes a frame whose pages were read to <paramref name="frame"/>[<see cref="PrefixBytes"/>..] in place: zero pages are squeezed out.
    /// </summary>
    /// <returns>Bytes of the finished frame.</returns>
    internal static int Finish(Span<byte> frame, ulong id, ImagePid pid, PageRange range, out int zeroPages, FrameKind kind = FrameKind.Pages)
    {
        int pages = (int)range.PageCount;
        Span<byte> bitmap = frame.Slice(FrameHeader.Bytes + 16, BitmapBytes);
        bitmap.Clear();
        Span<byte> data = frame.Slice(PrefixBytes, pages * PageSize.Bytes);
        int kept = 0;
        for (int page = 0; page < pages; page++)
        {
            Span<byte> bytes = data.Slice(page * PageSize.Bytes, PageSize.Bytes);
            if (!bytes.ContainsAnyExcept((byte)0))
            {
                bitmap[page >> 3] |= (byte)(1 << (page & 7));
                continue;
            }

            if (kept != page)
            {
                bytes.CopyTo(data.Slice(kept * PageSize.Bytes, PageSize.Bytes));
            }

            kept++;
        }

        zeroPages = pages - kept;
        int payloadBytes = BodyPrefixBytes + (kept * PageSize.Bytes);
        new FrameHeader(kind, id, payloadBytes).Write(frame);
        Span<byte> body = frame[FrameHeader.Bytes..];
        BinaryPrimitives.WriteInt32LittleEndian(body, pid.Value);
        BinaryPrimitives.WriteUInt32LittleEndian(body[4..], (uint)pages);
        BinaryPrimitives.WriteUInt64LittleEndian(body[8..], range.Start);
        return FrameHeader.Bytes + payloadBytes;
    }

    /// <summary>Splits a payload into its parts. Throws <see cref="ProtocolException"/> when they contradict each other.</summary>
    internal static void Parse(in ReadOnlySequence<byte> payload, out ImagePid pid, out PageRange range, out ZeroBitmap zero, out ReadOnlySequence<byte> data)
    {
        if (payload.Length < BodyPrefixBytes)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"pages frame: length {payload.Length} is less than {BodyPrefixBytes}");
        }

        Span<byte> prefix = stackalloc byte[BodyPrefixBytes];
        payload.Slice(0, BodyPrefixBytes).CopyTo(prefix);
        pid = new ImagePid(BinaryPrimitives.ReadInt32LittleEndian(prefix));
        range = PageRequest.ParseRange(prefix[4..], "pages frame");
        zero = new ZeroBitmap(prefix[16..]);
        data = payload.Slice(BodyPrefixBytes);
        int zeroPages = zero.Count;
        if (zero.HasBitsFrom((int)range.PageCount) || data.Length != (long)(range.PageCount - (ulong)zeroPages) * PageSize.Bytes)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"pages frame: {data.Length} bytes of data do not fit {range.PageCount} pages of which {zeroPages} are zero");
        }
    }

    /// <summary>Which pages of a frame are zero.</summary>
    internal readonly struct ZeroBitmap
    {
        private readonly ulong _word0;
        private readonly ulong _word1;
        private readonly ulong _word2;
        private readonly ulong _word3;

        internal ZeroBitmap(ReadOnlySpan<byte> bytes)
        {
            _word0 = BinaryPrimitives.ReadUInt64LittleEndian(bytes);
            _word1 = BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]);
            _word2 = BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]);
            _word3 = BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]);
        }

        internal int Count =>
            BitOperations.PopCount(_word0) + BitOperations.PopCount(_word1) + BitOperations.PopCount(_word2) + BitOperations.PopCount(_word3);

        /// <summary>True when page <paramref name="page"/> is zero.</summary>
        internal bool this[int page] => ((Word(page >> 6) >> (page & 63)) & 1) != 0;

        /// <summary>Pages from <paramref name="page"/> on that are all zero, or all not, like the first of them; ends at <paramref name="end"/>.</summary>
        internal int RunLength(int page, int end)
        {
            bool zero = this[page];
            int last = page + 1;
            while (last < end && this[last] == zero)
            {
                last++;
            }

            return last - page;
        }

        internal bool HasBitsFrom(int page)
        {
            for (int word = page >> 6; word < 4; word++)
            {
                ulong bits = Word(word);
                if (word == page >> 6)
                {
                    bits &= ulong.MaxValue << (page & 63);
                }

                if (bits != 0)
                {
                    return true;
                }
            }

            return false;
        }

        private ulong Word(int index) => index switch { 0 => _word0, 1 => _word1, 2 => _word2, _ => _word3 };
    }
}
