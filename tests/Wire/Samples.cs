using System.Buffers;
using PostCopy.Memory;
using PostCopy.Wire;

namespace PostCopy.Tests.Wire;

/// <summary>Frames as bytes.</summary>
internal static class Samples
{
    public static byte[] Frame(FrameKind kind, ulong id = 0, params byte[] payload)
    {
        ArrayBufferWriter<byte> output = new();
        FrameWriter.Write(output, kind, id, payload);
        return output.WrittenSpan.ToArray();
    }

    public static byte[] Header(ushort kind, uint length, ushort reserved = 0, ulong id = 0)
    {
        byte[] header = new byte[FrameHeader.Bytes];
        BitConverter.TryWriteBytes(header, length);
        BitConverter.TryWriteBytes(header.AsSpan(4), kind);
        BitConverter.TryWriteBytes(header.AsSpan(6), reserved);
        BitConverter.TryWriteBytes(header.AsSpan(8), id);
        return header;
    }

    public static byte[] Request(ulong id, int pid, ulong address, ulong pages)
    {
        ArrayBufferWriter<byte> output = new();
        FrameWriter.WritePageRequest(output, id, new PageRequest(new ImagePid(pid), new PageRange(address, pages)));
        return output.WrittenSpan.ToArray();
    }

    public static byte[] Error(WireErrorCode code, string text)
    {
        ArrayBufferWriter<byte> output = new();
        FrameWriter.WriteError(output, code, text);
        return output.WrittenSpan.ToArray();
    }

    /// <summary>A pages frame; page n is zero where <paramref name="zero"/> says so, else full of bytes that say n.</summary>
    public static byte[] Pages(ulong id, int pid, ulong address, params bool[] zero)
    {
        byte[] frame = new byte[PagesFrame.PrefixBytes + (zero.Length * PageSize.Bytes)];
        for (int page = 0; page < zero.Length; page++)
        {
            Page(zero, page).CopyTo(frame.AsSpan(PagesFrame.PrefixBytes + (page * PageSize.Bytes)));
        }

        int length = PagesFrame.Finish(frame, id, new ImagePid(pid), new PageRange(address, (ulong)zero.Length), out int zeroPages);
        Assert.Equal(zero.Count(static isZero => isZero), zeroPages);
        return frame[..length];
    }

    /// <summary>A pages frame with its checksum.</summary>
    public static byte[] Sealed(byte[] frame)
    {
        byte[] room = [.. frame, .. new byte[FrameChecksum.Bytes]];
        Assert.Equal(room.Length, FrameChecksum.Seal(room, frame.Length));
        return room;
    }

    /// <summary>What page n of such a frame holds.</summary>
    public static byte[] Page(bool[] zero, int page)
    {
        byte[] bytes = new byte[PageSize.Bytes];
        if (!zero[page])
        {
            // One byte that is not zero, somewhere, is enough to make it a page of data.
            bytes[page * 37 % PageSize.Bytes] = (byte)((page % 255) + 1);
        }

        return bytes;
    }
}
