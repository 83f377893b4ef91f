using System.Diagnostics;
using PostCopy.Perf.Support;
using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>Faults of many threads in many processes at once, against those of one, without a push.</summary>
internal sealed class CrowdComparison(bool quick)
{
    private const int Processes = 8;
    private const int ThreadsEach = 2;
    private const string ReferenceName = "ours, 1 thread";

    private readonly int _mebibytes = quick ? 8 : 32;
    private readonly int _pairs = quick ? 1 : 5;

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        Console.Error.WriteLine($"perf: faults of {Processes * ThreadsEach} threads in {Processes} processes");
        MemoryProgram[] programs = [.. Enumerable.Range(0, Processes + 1).Select(_ => new MemoryProgram(_mebibytes))];
        try
        {
            MemoryProgram source = programs[0];
            MemoryProgram[] targets = programs[1..];
            _ = Sweep(source, targets, ThreadsEach);
            Pairs<Crowd> pairs = await Pairs<Crowd>.RunAsync(
                _pairs,
                () => Task.FromResult(Sweep(source, targets, ThreadsEach)),
                () => Task.FromResult(Sweep(source, [targets[0]], 1)));
            return
            [
                pairs.Row($"faults a second, {Processes * ThreadsEach} threads in {Processes} processes", "1/s", ReferenceName, crowd => crowd.FaultsPerSecond, Goal.AtLeast(1.5)),
                pairs.RowWithin("their longest wait, against their p50", "µs", "10 × p50", crowd => crowd.LongestUs, crowd => 10 * crowd.P50Us),
                pairs.RowWithin("the slowest thread, against the fastest", "ms", "2 × fastest", crowd => crowd.SlowestMs, crowd => 2 * crowd.FastestMs),
            ];
        }
        finally
        {
            Array.ForEach(programs, static program => program.Dispose());
        }
    }

    private static Crowd Sweep(MemoryProgram source, MemoryProgram[] targets, int threads)
    {
        using PageTransfer transfer = new(source, targets);
        WalkerSweep[][] sweeps = new WalkerSweep[targets.Length][];
        Stopwatch clock = Stopwatch.StartNew();
        Thread[] asking = [.. targets.Select((target, i) => new Thread(() => sweeps[i] = target.Sweep("random", threads)))];
        Array.ForEach(asking, static thread => thread.Start());
        Array.ForEach(asking, static thread => thread.Join());
        double seconds = clock.Elapsed.TotalSeconds;
        transfer.WaitUntilDrained();
        Array.ForEach(targets, static target => target.Verify());

        WalkerSweep[] all = [.. sweeps.SelectMany(static sweep => sweep)];
        Crowd crowd = new(
            all.Sum(static sweep => sweep.Waits) / seconds,
            Pairs<WalkerSweep>.Median(all, static sweep => sweep.WaitP50Us),
            all.Max(static sweep => sweep.MaxUs),
            all.Max(static sweep => sweep.TotalMs),
            all.Min(static sweep => sweep.TotalMs));
        Console.Error.WriteLine($"perf:   {crowd}");
        return crowd;
    }

    private sealed record Crowd(double FaultsPerSecond, double P50Us, double LongestUs, double SlowestMs, double FastestMs);
}
