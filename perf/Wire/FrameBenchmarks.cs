using System.Buffers;
using BenchmarkDotNet.Attributes;
using PostCopy.Memory;
using PostCopy.Wire;

namespace PostCopy.Perf.Wire;

/// <summary>Rung 3: what the protocol costs a page, without a socket. 0 B allocated.</summary>
public class FrameBenchmarks
{
    private const ulong Address = 0x10_0000_0000;
    private static readonly ImagePid Pid = new(1);

    private readonly ArrayBufferWriter<byte> _output = new();
    private byte[] _frame = [];
    private PageRange _range;

    [Params(1, 256)]
    public int Pages { get; set; }

    [GlobalSetup]
    public void SetUp()
    {
        _frame = GC.AllocateArray<byte>(PagesFrame.PrefixBytes + (Pages * PageSize.Bytes), pinned: true);
        new Random(1).NextBytes(_frame);
        _range = new PageRange(Address, (ulong)Pages);
        PagesFrameThereAndBack();
        PageRequestThereAndBack();
    }

    [Benchmark]
    public int PagesFrameThereAndBack()
    {
        int bytes = PagesFrame.Finish(_frame, id: 7, Pid, _range, out int zeroPages);
        ReadOnlySequence<byte> buffer = new(_frame, 0, bytes);
        if (!FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
        {
            throw new InvalidOperationException("no frame");
        }

        PagesFrame.Parse(payload, out ImagePid pid, out PageRange range, out PagesFrame.ZeroBitmap zero, out ReadOnlySequence<byte> data);
        return header.Id == 7 && pid == Pid && range == _range && zero.Count == zeroPages && data.Length == Pages * PageSize.Bytes
            ? bytes
            : throw new InvalidOperationException("what came out is not what went in");
    }

    [Benchmark]
    public ulong PageRequestThereAndBack()
    {
        PageRequest request = new(Pid, new PageRange(Address, 1));
        _output.ResetWrittenCount();
        FrameWriter.WritePageRequest(_output, id: 7, request);
        ReadOnlySequence<byte> buffer = new(_output.WrittenMemory);
        return FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload) && PageRequest.Parse(payload) == request
            ? header.Id
            : throw new InvalidOperationException("what came out is not what went in");
    }
}
