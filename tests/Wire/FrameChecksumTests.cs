using System.Buffers;
using PostCopy.Tests.Testing;
using PostCopy.Wire;

namespace PostCopy.Tests.Wire;

public sealed class FrameChecksumTests
{
    private static readonly byte[] Frame = Samples.Sealed(Samples.Pages(5, 7, 0x40_0000, false, true));

    [Fact]
    public void A_whole_frame_is_opened_however_it_is_cut()
    {
        FrameChecksum checksum = new();
        byte[] body = Samples.Pages(5, 7, 0x40_0000, false, true)[FrameHeader.Bytes..];
        foreach (int cut in (int[])[FrameHeader.Bytes, FrameHeader.Bytes + 1, 100, Frame.Length - FrameChecksum.Bytes, Frame.Length - 3, Frame.Length])
        {
            ReadOnlySequence<byte> buffer = Segments.Cut(Frame, cut);
            Assert.True(FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload));
            Assert.Equal(body, checksum.Open(header, payload).ToArray());
        }
    }

    [Fact]
    public void Every_damaged_byte_is_noticed()
    {
        FrameChecksum checksum = new();
        // But for the length and the kind, which are the frame's own: a frame of another length does not end where the next one begins.
        for (int at = 8; at < Frame.Length; at++)
        {
            byte[] damaged = [.. Frame];
            damaged[at] ^= (byte)(1 << (at % 8));
            ReadOnlySequence<byte> buffer = new(damaged);
            Assert.True(FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload));
            ProtocolException e = Assert.Throws<ProtocolException>(() => checksum.Open(header, payload));
            Assert.Equal(WireErrorCode.Damaged, e.Code);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    public void What_is_too_short_for_a_checksum_is_refused(int bytes)
    {
        byte[] frame = Samples.Frame(FrameKind.Pages, 1, new byte[bytes]);
        Assert.Throws<ProtocolException>(() => new FrameChecksum().Open(FrameHeader.Parse(frame), new ReadOnlySequence<byte>(frame[FrameHeader.Bytes..])));
    }

    [Fact]
    public void Opening_allocates_nothing()
    {
        FrameChecksum checksum = new();
        ReadOnlySequence<byte> payload = new(Frame.AsMemory(FrameHeader.Bytes));
        FrameHeader header = FrameHeader.Parse(Frame);
        checksum.Open(header, payload);
        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < 100; i++)
        {
            checksum.Open(header, payload);
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }
}
