using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Perf.Support;

namespace PostCopy.Perf.Memory;

/// <summary>Rungs 1 and 2: copying memory, and copying another process's memory. Larger than the caches, so neither is measured inside them.</summary>
public unsafe class ReadBenchmarks
{
    private const int RegionMebibytes = 256;
    private const nuint RegionBytes = (nuint)RegionMebibytes << 20;

    private MemoryProgram? _program;
    private ProcessPageSource? _source;
    private byte* _local;
    private byte* _buffer;
    private ulong _offset;

    [Params(4 << 10, 64 << 10, 1 << 20)]
    public int Bytes { get; set; }

    [GlobalSetup]
    public void SetUp()
    {
        _program = new MemoryProgram(RegionMebibytes);
        _source = new ProcessPageSource(new Dictionary<ImagePid, int> { [PageTransfer.Pid] = _program.Pid });
        _local = (byte*)NativeMemory.AlignedAlloc(RegionBytes, (nuint)PageSize.Bytes);
        _buffer = (byte*)NativeMemory.AlignedAlloc((nuint)Bytes, (nuint)PageSize.Bytes);
        int read = _source.Read(PageTransfer.Pid, _program.Region.Start, new Span<byte>(_local, (int)RegionBytes));
        if (read != (int)RegionBytes || ProcessVmReadv() != Bytes || !new Span<byte>(_buffer, Bytes).SequenceEqual(new Span<byte>(_local, Bytes)))
        {
            throw new InvalidOperationException("the two ways do not see the same bytes");
        }
    }

    [GlobalCleanup]
    public void CleanUp()
    {
        NativeMemory.AlignedFree(_local);
        NativeMemory.AlignedFree(_buffer);
        _source!.Dispose();
        _program!.Dispose();
    }

    [Benchmark(Baseline = true)]
    public void Memcpy() => new Span<byte>(_local + Next(), Bytes).CopyTo(new Span<byte>(_buffer, Bytes));

    [Benchmark]
    public int ProcessVmReadv() => _source!.Read(PageTransfer.Pid, _program!.Region.Start + Next(), new Span<byte>(_buffer, Bytes));

    private ulong Next()
    {
        ulong offset = _offset;
        _offset = (offset + (ulong)Bytes) % RegionBytes;
        return offset;
    }
}
