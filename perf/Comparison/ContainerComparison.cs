using System.Diagnostics;
using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>The same container moved by postcopy and by runc with stock <c>criu lazy-pages</c>, in turns, over the same wire.</summary>
internal sealed class ContainerComparison : IAsyncDisposable
{
    private const string ReferenceName = "criu lazy-pages";

    // The dump keeps all of the memory in pipes, ours too although nobody reads them. CRIU wants them to have 4 MiB each.
    private const string PipeMaxSize = "/proc/sys/fs/pipe-max-size";
    private const long NeededPipeBytes = 4 << 20;

    private static readonly TimeSpan SweepLimit = TimeSpan.FromMinutes(5);

    private readonly Lab _lab;
    private readonly RunningAgent _agent;
    private readonly HostMeter _source;
    private readonly HostMeter _target;
    private readonly int _mebibytes;
    private readonly int _pairs;
    private readonly string _pipeMaxSize = File.ReadAllText(PipeMaxSize);

    private ContainerComparison(Lab lab, RunningAgent agent, bool quick)
    {
        _lab = lab;
        _agent = agent;
        _source = new HostMeter(lab, lab["a"]);
        _target = new HostMeter(lab, lab["b"]);
        _mebibytes = quick ? 256 : 1024;
        _pairs = quick ? 1 : 3;
        if (long.Parse(_pipeMaxSize) < NeededPipeBytes)
        {
            File.WriteAllText(PipeMaxSize, $"{NeededPipeBytes}");
        }
    }

    public static async Task<ContainerComparison> UpAsync(bool quick)
    {
        Lab lab = await Lab.UpAsync("a", "b");
        try
        {
            return new ContainerComparison(lab, await lab["b"].StartAgentAsync(), quick);
        }
        catch
        {
            await lab.DisposeAsync();
            throw;
        }
    }

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        double gibibytes = _mebibytes / 1024.0;
        Pairs<Move> random = await MoveInPairsAsync(Scenario.RandomSweep);
        Pairs<Move> sequential = await MoveInPairsAsync(Scenario.SequentialSweep);
        Pairs<Move> idle = await MoveInPairsAsync(Scenario.Idle);
        Pairs<Move> zeroes = await MoveInPairsAsync(Scenario.MostlyZero);
        Row Row(Pairs<Move> pairs, string measure, string unit, Func<Move, double> value, Goal? goal) => pairs.Row(measure, unit, ReferenceName, value, goal);
        return
        [
            Row(random, $"random sweep of {_mebibytes} MiB right after the restore", "s", move => move.Sweep!.TotalMs / 1000, Goal.AtMost(0.1)),
            Row(random, "its page waits, p50", "µs", move => move.Sweep!.WaitP50Us, Goal.AtMost(0.5)),
            Row(random, "its page waits, p99", "µs", move => move.Sweep!.WaitP99Us, Goal.AtMost(0.5)),
            Row(sequential, $"sequential sweep of {_mebibytes} MiB right after the restore", "s", move => move.Sweep!.TotalMs / 1000, Goal.AtMost(1)),
            Row(sequential, "its page waits, p99", "µs", move => move.Sweep!.WaitP99Us, Goal.AtMost(1)),
            Row(idle, "drain of the same, program idle", "s", move => move.Steps.DrainMs / 1000, Goal.AtMost(1)),
            Row(idle, "standstill as the program saw it", "ms", move => move.StandstillMs, Goal.AtMost(1.1)),
            Row(idle, "of it: dump", "ms", move => move.Steps.DumpMs, null),
            Row(idle, "of it: images", "ms", move => move.Steps.ImagesMs, null),
            Row(idle, "of it: restore", "ms", move => move.Steps.RestoreMs, null),
            Row(idle, "whole move", "s", move => move.TotalMs / 1000, Goal.AtMost(1)),
            Row(idle, "bytes on the wire", "MiB", move => move.WireBytes / (double)(1 << 20), Goal.AtMost(1.05)),
            Row(idle, "CPU time on both hosts", "s/GiB", move => move.CpuSeconds / gibibytes, Goal.AtMost(1.2)),
            Row(idle, "resident memory of who serves, source", "MiB", move => move.SourceMiB, null),
            Row(idle, "resident memory of who serves, destination", "MiB", move => move.TargetMiB, null),
            Row(idle, "open descriptors of who serves, source", "", move => move.SourceDescriptors, Goal.AtMost(1)),
            Row(idle, "open descriptors of who serves, destination", "", move => move.TargetDescriptors, null),
            Row(zeroes, "drain, 14 of 16 pages zero", "s", move => move.Steps.DrainMs / 1000, Goal.AtMost(1)),
            Row(zeroes, "bytes on the wire, 14 of 16 pages zero", "MiB", move => move.WireBytes / (double)(1 << 20), Goal.AtMost(0.25)),
        ];
    }

    public async ValueTask DisposeAsync()
    {
        await _agent.DisposeAsync();
        await _lab.DisposeAsync();
        await File.WriteAllTextAsync(PipeMaxSize, _pipeMaxSize);
    }

    private Task<Pairs<Move>> MoveInPairsAsync(Scenario scenario) => Pairs<Move>.RunAsync(
        _pairs,
        () => MoveOnceAsync(scenario, "postcopy", MoveByPostCopyAsync),
        () => MoveOnceAsync(scenario, ReferenceName, MoveByStockAsync));

    private async Task<Move> MoveOnceAsync(Scenario scenario, string name, Func<Container, Task<Steps>> mover)
    {
        Console.Error.Write($"perf: {_mebibytes} MiB, {scenario.Name}, {name}: ");
        Walker walker = await Walker.StartAsync(_lab, _lab["a"], _mebibytes, contents: scenario.Contents);
        await walker.RestAsync();
        if (scenario.Sweep is { } order)
        {
            await walker.SweepOnMoveAsync(order);
        }

        double cpu = _source.CpuSeconds + _target.CpuSeconds;
        long wire = _target.WireBytes;
        using ProcessSampler onSource = new(_source);
        using ProcessSampler onTarget = new(_target);
        Stopwatch clock = Stopwatch.StartNew();
        Steps steps = await mover(walker.Container);
        double totalMs = clock.Elapsed.TotalMilliseconds;
        cpu = _source.CpuSeconds + _target.CpuSeconds - cpu;
        wire = _target.WireBytes - wire;

        WalkerSweep? sweep = scenario.Sweep is null ? null : await walker.SweepAfterMoveAsync(SweepLimit);
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        Move move = new(sweep, steps, StandstillMs(walker), totalMs, wire, cpu, onSource.PeakMiB, onSource.PeakDescriptors, onTarget.PeakMiB, onTarget.PeakDescriptors);
        Console.Error.WriteLine($"{steps.DumpMs:0} + {steps.ImagesMs:0} + {steps.RestoreMs:0} ms, drained in {steps.DrainMs:0} ms{(sweep is null ? "" : $", swept in {sweep.TotalMs:0} ms")}");

        await walker.Container.RemoveFromAsync(_lab["b"]);
        foreach (string leftover in (string[])["walker", "walker-bundle"])
        {
            Directory.Delete($"{_lab.Shared}/{leftover}", recursive: true);
        }

        return move;
    }

    private async Task<Steps> MoveByPostCopyAsync(Container container)
    {
        MigrationResult result = await Migration.RunAsync(_lab, _lab["a"], container, _agent);
        MigrationReport report = result.Expect(ExitCode.Moved, "moved");
        return new Steps(report.FreezeMs + report.DumpMs, report.ImagesMs, report.DowntimeMs - report.FreezeMs - report.DumpMs - report.ImagesMs, report.DrainMs);
    }

    private async Task<Steps> MoveByStockAsync(Container container)
    {
        StockTimes times = await StockMigration.RunAsync(_lab, container, _lab["a"], _lab["b"]);
        return new Steps(times.Dump.TotalMilliseconds, times.CopyImages.TotalMilliseconds, times.Restore.TotalMilliseconds, times.Drain.TotalMilliseconds);
    }

    private static double StandstillMs(Walker walker)
    {
        List<WalkerLogLine> log = walker.ReadLog();
        return log.Zip(log.Skip(1), (line, next) => (From: line, To: next))
            .Where(pair => pair.From.Host != pair.To.Host)
            .Select(pair => (pair.To.UnixUs - pair.From.UnixUs) / 1e3)
            .Single();
    }
}
