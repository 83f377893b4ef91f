using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.Faults;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Perf.Support;

namespace PostCopy.Perf.Faults;

/// <summary>Rung 5: <see cref="LazyMemory.Install"/> into another process, ledger and lock included; nobody faults meanwhile.</summary>
public unsafe class InstallBenchmarks
{
    private const int RegionMebibytes = 64;
    private const int RegionBytes = RegionMebibytes << 20;

    private MemoryProgram? _program;
    private LazyMemory? _memory;
    private byte* _content;

    /// <summary>Bytes handed to one call.</summary>
    [Params(4 << 10, 128 << 10, 1 << 20)]
    public int Bytes { get; set; }

    [GlobalSetup]
    public void SetUp()
    {
        _program = new MemoryProgram(RegionMebibytes);
        _content = (byte*)NativeMemory.AlignedAlloc(RegionBytes, (nuint)PageSize.Bytes);
        using ProcessPageSource source = new(new Dictionary<ImagePid, int> { [PageTransfer.Pid] = _program.Pid });
        source.Read(PageTransfer.Pid, _program.Region.Start, new Span<byte>(_content, RegionBytes));
        Arm();
        Install64MiB();
        _program.Verify();
    }

    [GlobalCleanup]
    public void CleanUp()
    {
        _memory?.Dispose();
        NativeMemory.AlignedFree(_content);
        _program!.Dispose();
    }

    [IterationSetup]
    public void Arm()
    {
        _memory?.Dispose();
        _memory = new LazyMemory([new(PageTransfer.Pid, [_program!.Region])], new NobodyAsks(), new NoKeeper(), NullLogger.Instance);
        _memory.Add(PageTransfer.Pid, _program.ArmForUs());
        _memory.RestoreFinished();
    }

    /// <summary>The whole region; divide 64 MiB by it.</summary>
    [Benchmark]
    public void Install64MiB()
    {
        for (int at = 0; at < RegionBytes; at += Bytes)
        {
            PageRange range = new(_program!.Region.Start + (ulong)at, (ulong)(Bytes >> PageSize.Shift));
            _memory!.Install(PageTransfer.Pid, range, new ReadOnlySpan<byte>(_content + at, Bytes));
        }
    }

    private sealed class NobodyAsks : IPageRequester
    {
        public void Request(ImagePid pid, PageRange range) => throw new InvalidOperationException("a fault, while nobody should touch the memory");
    }
}
