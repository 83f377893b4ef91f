using System.Diagnostics;
using PostCopy.Perf.Support;

namespace PostCopy.Perf.Comparison;

/// <summary>A push of memory that is mostly zero, against one of as much that is not.</summary>
internal sealed class ZeroComparison(bool quick)
{
    private const int DataEvery = 20;
    private const string ReferenceName = "ours, no zeroes";

    private readonly int _mebibytes = quick ? 512 : 4096;
    private readonly int _pairs = quick ? 1 : 3;

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        Console.Error.WriteLine($"perf: push of {_mebibytes} MiB, 95 % zero");
        using MemoryProgram source = new(_mebibytes);
        using MemoryProgram target = new(_mebibytes);
        Pairs<Pushed> pairs = await Pairs<Pushed>.RunAsync(
            _pairs,
            () => Task.FromResult(Push(source, target, DataEvery)),
            () => Task.FromResult(Push(source, target, dataEvery: 1)));
        return
        [
            pairs.Row($"push of {_mebibytes} MiB, 95 % zero", "s", ReferenceName, push => push.Seconds, Goal.AtMost(0.4)),
            pairs.RowWithin("its bytes on the wire, of 100 bytes of memory", "", "limit", push => 100.0 * push.WireBytes / source.Region.ByteCount, _ => 7),
        ];
    }

    private static Pushed Push(MemoryProgram source, MemoryProgram target, int dataEvery)
    {
        source.Fill(dataEvery);
        target.Fill(dataEvery);
        using PageTransfer transfer = new(source, target);
        Stopwatch clock = Stopwatch.StartNew();
        transfer.StartPush();
        transfer.WaitUntilDrained();
        Pushed pushed = new(clock.Elapsed.TotalSeconds, transfer.BytesOnWire);
        target.Verify();
        Console.Error.WriteLine($"perf:   {pushed}");
        return pushed;
    }

    private sealed record Pushed(double Seconds, ulong WireBytes);
}
