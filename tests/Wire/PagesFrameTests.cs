using System.Buffers;
using PostCopy.Memory;
using PostCopy.Tests.Testing;
using PostCopy.Wire;

namespace PostCopy.Tests.Wire;

public sealed class PagesFrameTests
{
    private const ulong Address = 0x7f12_3456_7000;

    [Fact]
    public void One_to_256_pages_come_back_whichever_are_zero()
    {
        Random random = new(1);
        for (int pages = 1; pages <= ProtocolLimits.MaxPagesPerFrame; pages++)
        {
            AssertRoundTrip(Enumerable.Repeat(true, pages));
            AssertRoundTrip(Enumerable.Repeat(false, pages));
            AssertRoundTrip(Enumerable.Range(0, pages).Select(_ => random.Next(2) == 0));
            AssertRoundTrip(Enumerable.Range(0, pages).Select(page => page == pages - 1));
        }
    }

    [Fact]
    public void Survives_every_cut_of_its_prefix()
    {
        bool[] zero = [true, false, true];
        byte[] payload = Samples.Pages(1, 5, Address, zero)[FrameHeader.Bytes..];
        for (int cut = 0; cut <= 64; cut++)
        {
            AssertParses(Segments.Cut(payload, cut), zero);
            AssertParses(Segments.Cut(payload, cut / 2, cut), zero);
        }

        AssertParses(Segments.OneByteEach(payload), zero);
    }

    [Fact]
    public void Zero_pages_leave_nothing_but_their_bit()
    {
        Assert.Equal(PagesFrame.PrefixBytes, Samples.Pages(1, 1, Address, [.. Enumerable.Repeat(true, 256)]).Length);
        Assert.Equal(PagesFrame.PrefixBytes + PageSize.Bytes, Samples.Pages(1, 1, Address, true, false, true).Length);
    }

    [Theory]
    [InlineData("bits behind the last page")]
    [InlineData("one page too many")]
    [InlineData("one page too few")]
    [InlineData("half a page")]
    [InlineData("no pages")]
    [InlineData("too many pages")]
    [InlineData("not aligned")]
    [InlineData("wraps around")]
    [InlineData("shorter than its prefix")]
    public void Contradictions_are_refused(string contradiction)
    {
        byte[] payload = Samples.Pages(1, 1, Address, true, false, true)[FrameHeader.Bytes..];
        (byte[] wrong, string says) = contradiction switch
        {
            "bits behind the last page" => (With(payload, 16, 0b1101), $"pages frame: {PageSize.Bytes} bytes of data do not fit 3 pages of which 3 are zero"),
            "one page too many" => ([.. payload, .. new byte[PageSize.Bytes]], "do not fit 3 pages of which 2 are zero"),
            "one page too few" => (payload[..^PageSize.Bytes], "pages frame: 0 bytes of data do not fit"),
            "half a page" => (payload[..^(PageSize.Bytes / 2)], "do not fit 3 pages"),
            "no pages" => (With(payload, 4, 0), "pages frame: 0 pages are not between 1 and 256"),
            "too many pages" => (With(payload, 5, 2), "pages frame: 515 pages are not between 1 and 256"),
            "not aligned" => (With(payload, 8, 1), "pages frame: address 7f1234567001 is not page aligned"),
            "wraps around" => ([.. payload[..8], 0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, .. payload[16..]], "wraps around"),
            _ => (payload[..47], "pages frame: length 47 is less than 48"),
        };
        ProtocolException e = Assert.Throws<ProtocolException>(() => PagesFrame.Parse(new ReadOnlySequence<byte>(wrong), out _, out _, out _, out _));
        Assert.Contains(says, e.Message);
    }

    [Fact]
    public void Runs_of_like_pages_end_where_the_bit_changes()
    {
        byte[] bitmap = new byte[32];
        bitmap[8] = 0b0000_1110;
        PagesFrame.ZeroBitmap zero = new(bitmap);
        Assert.Equal((65, 3, 188), (zero.RunLength(0, 256), zero.RunLength(65, 256), zero.RunLength(68, 256)));
        Assert.Equal(2, zero.RunLength(66, 68));
        Assert.Equal(3, zero.Count);
        Assert.True(zero.HasBitsFrom(67));
        Assert.False(zero.HasBitsFrom(68));
        Assert.False(zero.HasBitsFrom(256));
    }

    private static byte[] With(byte[] bytes, int index, byte value)
    {
        byte[] changed = [.. bytes];
        changed[index] = value;
        return changed;
    }

    private static void AssertRoundTrip(IEnumerable<bool> zeroPages)
    {
        bool[] zero = [.. zeroPages];
        ReadOnlySequence<byte> buffer = new(Samples.Pages(77, 5, Address, zero));
        Assert.True(FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload));
        Assert.Equal((FrameKind.Pages, 77UL), (header.Kind, header.Id));
        AssertParses(payload, zero);
    }

    private static void AssertParses(ReadOnlySequence<byte> payload, bool[] expected)
    {
        PagesFrame.Parse(payload, out ImagePid pid, out PageRange range, out PagesFrame.ZeroBitmap zero, out ReadOnlySequence<byte> data);
        Assert.Equal((new ImagePid(5), new PageRange(Address, (ulong)expected.Length)), (pid, range));
        for (int page = 0; page < expected.Length; page++)
        {
            Assert.Equal(expected[page], zero[page]);
            if (!expected[page])
            {
                Assert.True(data.Slice(0, PageSize.Bytes).ToArray().AsSpan().SequenceEqual(Samples.Page(expected, page)), $"page {page} of {expected.Length}");
                data = data.Slice(PageSize.Bytes);
            }
        }

        Assert.True(data.IsEmpty);
    }
}
