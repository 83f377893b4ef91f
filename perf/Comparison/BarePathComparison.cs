using System.Diagnostics;
using PostCopy.Perf.Support;
using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>Our way of a page against the bare system calls, between the same two processes, without CRIU.</summary>
internal sealed class BarePathComparison(bool quick)
{
    private const string ReferenceName = "C, bare calls";

    private readonly int _pushMebibytes = quick ? 1024 : 2048;
    private readonly int _faultMebibytes = quick ? 32 : 128;
    private readonly int _pushPairs = quick ? 3 : 7;
    private readonly int _faultPairs = quick ? 3 : 5;

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        List<Row> rows = [];
        double waitWithoutPushUs;
        using (MemoryProgram source = new(_pushMebibytes), target = new(_pushMebibytes))
        {
            rows.AddRange(await PushAsync(source, target));
        }

        using (MemoryProgram source = new(_faultMebibytes), target = new(_faultMebibytes))
        {
            (double offP99Us, IReadOnlyList<Row> faults) = await FaultsAsync(source, target);
            rows.AddRange(faults);
            waitWithoutPushUs = offP99Us;
        }

        using (MemoryProgram source = new(_pushMebibytes), target = new(_pushMebibytes))
        {
            rows.AddRange(FaultsUnderPush(source, target, waitWithoutPushUs));
        }

        return rows;
    }

    private async Task<IReadOnlyList<Row>> PushAsync(MemoryProgram source, MemoryProgram target)
    {
        Say($"push of {_pushMebibytes} MiB");
        Push(source, target);
        Pairs<PushTime> pairs = await Pairs<PushTime>.RunAsync(
            _pushPairs,
            () => Task.FromResult(Verified(target, Push(source, target), "ours")),
            async () => Verified(target, await Ceiling.PushAsync(source, target), ReferenceName));
        return
        [
            pairs.Row($"push, frozen process → TCP → installed, {_pushMebibytes} MiB", "GB/s", ReferenceName, run => run.GBps, Goal.AtLeast(0.9)),
            pairs.Row("CPU time of that, both sides", "s/GiB", ReferenceName, run => run.CpuSecondsPerGiB, Goal.AtMost(1.3)),
        ];
    }

    private async Task<(double P99Us, IReadOnlyList<Row> Rows)> FaultsAsync(MemoryProgram source, MemoryProgram target)
    {
        Say($"faults on {_faultMebibytes} MiB, no push");
        ServeSweep(source, target, static () => null);
        Pairs<WalkerSweep> alike = await SweepInPairsAsync(source, target, () => OneCpu.Hold(target));
        Say("the same, each thread where the kernel puts it");
        Pairs<WalkerSweep> free = await SweepInPairsAsync(source, target, static () => null);
        return (Pairs<WalkerSweep>.Median(free.Ours, run => run.WaitP99Us),
        [
            alike.Row("fault as the program sees it, no push, all on one CPU, p50", "µs", ReferenceName, run => run.WaitP50Us, Goal.AtMost(1.1)),
            alike.Row("the same, p99", "µs", ReferenceName, run => run.WaitP99Us, Goal.AtMost(1.5)),
            free.Row("each thread where the kernel puts it, p50", "µs", ReferenceName, run => run.WaitP50Us),
            free.Row("the same, p99", "µs", ReferenceName, run => run.WaitP99Us),
        ]);
    }

    private Task<Pairs<WalkerSweep>> SweepInPairsAsync(MemoryProgram source, MemoryProgram target, Func<OneCpu?> place) => Pairs<WalkerSweep>.RunAsync(
        _faultPairs,
        () => Task.FromResult(Verified(target, ServeSweep(source, target, place), "ours")),
        async () =>
        {
            using OneCpu? placed = place();
            return Verified(target, await Ceiling.ServeSweepAsync(source, target), ReferenceName);
        });

    private List<Row> FaultsUnderPush(MemoryProgram source, MemoryProgram target, double waitWithoutPushUs)
    {
        Say("faults while everything is pushed");
        List<WalkerSweep> sweeps = [];
        for (int i = 0; i < _faultPairs; i++)
        {
            using (PageTransfer transfer = new(source, target))
            {
                transfer.StartPush();
                sweeps.Add(target.Sweep("random"));
                transfer.WaitUntilDrained();
            }

            Verified(target, sweeps[^1], "ours");
        }

        return
        [
            new Row("fault while the push runs at full speed, p50", "µs", Pairs<WalkerSweep>.Median(sweeps, sweep => sweep.WaitP50Us), null, "", null),
            new Row("the same, p99", "µs", Pairs<WalkerSweep>.Median(sweeps, sweep => sweep.WaitP99Us), waitWithoutPushUs, "ours, no push", Goal.AtMost(3)),
        ];
    }

    private static PushTime Push(MemoryProgram source, MemoryProgram target)
    {
        using PageTransfer transfer = new(source, target);
        TimeSpan cpu = Environment.CpuUsage.TotalTime;
        Stopwatch clock = Stopwatch.StartNew();
        transfer.StartPush();
        transfer.WaitUntilDrained();
        return new PushTime(target.Region.ByteCount, clock.Elapsed.TotalSeconds, (Environment.CpuUsage.TotalTime - cpu).TotalSeconds);
    }

    private static WalkerSweep ServeSweep(MemoryProgram source, MemoryProgram target, Func<OneCpu?> place)
    {
        using PageTransfer transfer = new(source, target);
        using OneCpu? placed = place();
        WalkerSweep sweep = target.Sweep("random");
        transfer.WaitUntilDrained();
        return sweep;
    }

    private static T Verified<T>(MemoryProgram target, T run, string name)
    {
        target.Verify();
        Say($"  {name}: {run}");
        return run;
    }

    private static void Say(string what) => Console.Error.WriteLine($"perf: {what}");
}
