using System.Buffers;
using System.Text;
using PostCopy.Memory;
using PostCopy.Tests.Testing;
using PostCopy.Wire;

namespace PostCopy.Tests.Wire;

public sealed class FrameTests
{
    /// <summary>The longest payload of each kind, as PROTOCOL.md promises it.</summary>
    internal static readonly Dictionary<FrameKind, int> Limits = Enum.GetValues<FrameKind>().ToDictionary(static kind => kind, static kind => kind switch
    {
        FrameKind.Welcome or FrameKind.Hello or FrameKind.HelloAck or FrameKind.Error => 512,
        FrameKind.Heartbeat => 8,
        FrameKind.HeartbeatAck or FrameKind.PageRequest => 16,
        FrameKind.Goodbye or FrameKind.PushDone or FrameKind.Ack or FrameKind.Ask or FrameKind.Discarded or FrameKind.CheckRequest or FrameKind.Freezing => 0,
        FrameKind.StageSync or FrameKind.StageAck or FrameKind.StageDone => 0,
        FrameKind.Valid => 8 + (4096 * 16),
        FrameKind.Pages or FrameKind.StagePages => 56 + (256 * PageSize.Bytes),
        _ => 1 << 20,
    });

    public static TheoryData<ushort> Kinds => [.. Enum.GetValues<FrameKind>().Select(static kind => (ushort)kind)];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Every_kind_survives_every_cut(ushort kind)
    {
        byte[] payload = [.. Enumerable.Range(1, Math.Min(Limits[(FrameKind)kind], 40)).Select(static i => (byte)i)];
        byte[] frame = Samples.Frame((FrameKind)kind, id: 0x0123456789abcdef, payload);
        foreach (ReadOnlySequence<byte> sequence in Segments.EveryWay([.. frame, .. frame]))
        {
            ReadOnlySequence<byte> buffer = sequence;
            for (int i = 0; i < 2; i++)
            {
                Assert.True(FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> read));
                Assert.Equal(new FrameHeader((FrameKind)kind, 0x0123456789abcdef, payload.Length), header);
                Assert.Equal(payload, read.ToArray());
            }

            Assert.True(buffer.IsEmpty);
        }
    }

    [Fact]
    public void A_part_of_a_frame_is_left_alone_until_the_rest_has_come()
    {
        byte[] frame = Samples.Request(1, 1, 0x1000, 1);
        for (int length = 0; length < frame.Length; length++)
        {
            ReadOnlySequence<byte> buffer = Segments.OneByteEach(frame[..length]);
            Assert.False(FrameReader.TryReadFrame(ref buffer, out _, out _));
            Assert.Equal(length, buffer.Length);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public void A_length_beyond_the_kinds_limit_is_refused_by_the_header_alone(ushort kind)
    {
        int limit = Limits[(FrameKind)kind];
        Assert.Equal(limit, FrameHeader.Parse(Samples.Header(kind, (uint)limit)).PayloadBytes);
        foreach (uint length in (uint[])[(uint)limit + 1, int.MaxValue, uint.MaxValue])
        {
            ReadOnlySequence<byte> buffer = new(Samples.Header(kind, length));
            ProtocolException e = Assert.Throws<ProtocolException>(() => FrameReader.TryReadFrame(ref buffer, out _, out _));
            Assert.Equal(WireErrorCode.TooLarge, e.Code);
            Assert.Equal($"frame header: length {length} of a {(FrameKind)kind} frame is beyond its limit of {limit}", e.Message);
        }
    }

    [Fact]
    public void Unknown_kinds_and_reserved_bytes_are_refused()
    {
        for (int kind = 0; kind <= ushort.MaxValue; kind++)
        {
            if (!Enum.IsDefined((FrameKind)kind))
            {
                byte[] header = Samples.Header((ushort)kind, 0);
                ProtocolException e = Assert.Throws<ProtocolException>(() => FrameHeader.Parse(header));
                Assert.Equal((WireErrorCode.ProtocolViolation, $"frame header: kind {kind} with reserved 0 is unknown"), (e.Code, e.Message));
            }
        }

        Assert.Throws<ProtocolException>(() => FrameHeader.Parse(Samples.Header((ushort)FrameKind.Goodbye, 0, reserved: 1)));
    }

    [Fact]
    public void A_page_request_survives_every_cut()
    {
        byte[] frame = Samples.Request(9, 42, 0x7fff_ffff_f000, 256);
        foreach (ReadOnlySequence<byte> payload in Segments.EveryWay(frame[FrameHeader.Bytes..]))
        {
            Assert.Equal(new PageRequest(new ImagePid(42), new PageRange(0x7fff_ffff_f000, 256)), PageRequest.Parse(payload));
        }
    }

    [Theory]
    [InlineData(0x1000UL, 0U, WireErrorCode.TooLarge, "page request: 0 pages are not between 1 and 256")]
    [InlineData(0x1000UL, 257U, WireErrorCode.TooLarge, "page request: 257 pages are not between 1 and 256")]
    [InlineData(0x1001UL, 1U, WireErrorCode.ProtocolViolation, "page request: address 1001 is not page aligned or wraps around")]
    [InlineData(0xffff_ffff_ffff_f000UL, 1U, WireErrorCode.ProtocolViolation, "page request: address fffffffffffff000 is not page aligned or wraps around")]
    public void Impossible_page_requests_are_refused(ulong address, uint pages, object code, string message)
    {
        byte[] payload = new byte[PageRequest.Bytes];
        BitConverter.TryWriteBytes(payload, 1);
        BitConverter.TryWriteBytes(payload.AsSpan(4), pages);
        BitConverter.TryWriteBytes(payload.AsSpan(8), address);
        ProtocolException e = Assert.Throws<ProtocolException>(() => PageRequest.Parse(new ReadOnlySequence<byte>(payload)));
        Assert.Equal(((WireErrorCode)code, message), (e.Code, e.Message));
        Assert.Throws<ProtocolException>(() => PageRequest.Parse(new ReadOnlySequence<byte>(payload.AsMemory(1))));
    }

    [Fact]
    public void An_error_says_what_the_peer_said_and_nothing_that_a_terminal_would_obey()
    {
        byte[] frame = Samples.Error(WireErrorCode.Busy, "all full\u001b[2J\n");
        foreach (ReadOnlySequence<byte> payload in Segments.EveryWay(frame[FrameHeader.Bytes..]))
        {
            ProtocolException e = FrameWriter.ParseError(payload);
            Assert.Equal((WireErrorCode.Busy, "the peer says: all full [2J ", true), (e.Code, e.Message, e.SaidByPeer));
        }

        Assert.Equal(WireErrorCode.ProtocolViolation, FrameWriter.ParseError(new ReadOnlySequence<byte>(new byte[1])).Code);
    }

    [Fact]
    public void An_errors_text_is_cut_at_its_limit_between_characters()
    {
        byte[] frame = Samples.Error(WireErrorCode.Internal, "x" + new string('é', 600));
        Assert.Equal(FrameHeader.Bytes + 2 + 509, frame.Length);
        Assert.Equal("x" + new string('é', 254), Encoding.UTF8.GetString(frame[(FrameHeader.Bytes + 2)..]));
        FrameHeader.Parse(frame);
    }

    [Fact]
    public void Writing_frames_allocates_nothing()
    {
        ArrayBufferWriter<byte> output = new(1 << 16);
        PageRequest request = new(new ImagePid(1), new PageRange(0x1000, 1));
        long before = 0;
        for (int round = 0; round < 2; round++)
        {
            output.ResetWrittenCount();
            before = GC.GetAllocatedBytesForCurrentThread();
            for (ulong id = 0; id < 1000; id++)
            {
                FrameWriter.WritePageRequest(output, id, request);
                FrameWriter.WriteEmpty(output, FrameKind.Ack, id);
            }
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }
}
