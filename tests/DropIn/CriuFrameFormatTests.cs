using PostCopy.CriuWire;
using PostCopy.Memory;

namespace PostCopy.Tests.DropIn;

public sealed class CriuFrameFormatTests
{
    private static readonly CriuFrame Get = CriuFrame.GetPages(new ImagePid(0x1122), new PageRange(0x7f0000401000, 3));

    [Fact]
    public void The_bytes_are_crius()
    {
        // criu/page-xfer.c, struct page_server_iov: up to 4.1 and since 4.2.
        Assert.Equal("0700000003000000001040000" + "07f00002211000000000000", Hex(CriuFrameFormat.UpTo41, Get));
        Assert.Equal("07000000000000000300000000000000001040000" + "07f00002211000000000000", Hex(CriuFrameFormat.Since42, Get));
        Assert.StartsWith("23100000", Hex(CriuFrameFormat.Since42, CriuFrame.CloseComplete), StringComparison.Ordinal);
        Assert.StartsWith("06000400", Hex(CriuFrameFormat.Since42, CriuFrame.PagesFollow(new ImagePid(1), new PageRange(0x1000, 1))), StringComparison.Ordinal);
    }

    [Fact]
    public void What_was_written_is_read()
    {
        foreach (CriuFrameFormat format in (CriuFrameFormat[])[CriuFrameFormat.UpTo41, CriuFrameFormat.Since42])
        {
            byte[] bytes = new byte[format.Bytes];
            format.Write(bytes, Get);
            Assert.Equal(Get, format.Read(bytes));
            Assert.False(Get.IsClose);
            format.Write(bytes, CriuFrame.CloseComplete);
            Assert.True(format.Read(bytes).SaysComplete);
        }
    }

    [Fact]
    public void A_clients_format_is_told_by_its_first_request()
    {
        foreach (CriuFrameFormat format in (CriuFrameFormat[])[CriuFrameFormat.UpTo41, CriuFrameFormat.Since42])
        {
            byte[] bytes = new byte[CriuFrameFormat.MaxBytes];
            format.Write(bytes, Get);
            Assert.Same(format, CriuFrameFormat.Recognise(bytes.AsSpan(0, CriuFrameFormat.UpTo41.Bytes), static (pid, address) => pid.Value == 0x1122 && address == 0x7f0000401000));
        }
    }

    [Fact]
    public void The_padding_of_a_wide_frame_may_hold_anything()
    {
        byte[] bytes = new byte[CriuFrameFormat.MaxBytes];
        CriuFrameFormat.Since42.Write(bytes, Get);
        bytes.AsSpan(4, 4).Fill(0xff);
        Assert.Same(CriuFrameFormat.Since42, CriuFrameFormat.Recognise(bytes.AsSpan(0, 24), static (pid, address) => pid.Value == 0x1122 && address == 0x7f0000401000));
        Assert.Equal(Get, CriuFrameFormat.Since42.Read(bytes));
    }

    private static string Hex(CriuFrameFormat format, CriuFrame frame)
    {
        byte[] bytes = new byte[format.Bytes];
        format.Write(bytes, frame);
        return Convert.ToHexStringLower(bytes);
    }
}
