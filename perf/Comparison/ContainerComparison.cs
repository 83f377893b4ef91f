namespace PostCopy.Perf.Comparison;

/// <summary>The same container moved by postcopy and by runc with stock <c>criu lazy-pages</c>, in turns, over the same wire.</summary>
internal sealed class ContainerComparison(Mover mover, bool quick)
{
    private const string ReferenceName = "criu lazy-pages";

    /// <summary>The option that has memory joined into huge pages.</summary>
    private const string Join = "--collapse";

    private readonly int _mebibytes = quick ? 256 : 1024;
    private readonly int _pairs = quick ? 1 : 3;

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        double gibibytes = _mebibytes / 1024.0;
        Pairs<Move> random = await MoveInPairsAsync(Scenario.RandomSweep);
        Pairs<Move> sequential = await MoveInPairsAsync(Scenario.SequentialSweep);
        Pairs<Move> idle = await MoveInPairsAsync(Scenario.IdleThenSweep);
        (Pairs<Move> full, Pairs<Move> joined) = await MoveInTurnsAsync(Scenario.FullRandomSweep);
        (Pairs<Move> fullIdle, Pairs<Move> joinedIdle) = await MoveInTurnsAsync(Scenario.FullIdle);
        Pairs<Move> zeroes = await MoveInPairsAsync(Scenario.MostlyZero);
        Row Row(Pairs<Move> pairs, string measure, string unit, Func<Move, double> value, Goal? goal) => pairs.Row(measure, unit, ReferenceName, value, goal);
        return
        [
            Row(random, $"random sweep of {_mebibytes} MiB right after the restore", "s", move => move.Sweep!.TotalMs / 1000, Goal.AtMost(0.1)),
            new Row("the same, against our own drain with the program idle", "s", Pairs<Move>.Median(random.Ours, move => move.Sweep!.TotalMs / 1000), Pairs<Move>.Median(idle.Ours, move => move.Steps.DrainMs / 1000), "ours, idle", Goal.AtMost(1.3)),
            new Row("the same, against a sweep of memory that is all there", "s", Pairs<Move>.Median(random.Ours, move => move.Sweep!.TotalMs / 1000), Pairs<Move>.Median(idle.Ours, move => move.Sweep!.TotalMs / 1000), "ours, drained before", null),
            Row(random, "its page waits, p50", "µs", move => move.Sweep!.WaitP50Us, Goal.AtMost(0.5)),
            Row(random, "its page waits, p99", "µs", move => move.Sweep!.WaitP99Us, Goal.AtMost(0.5)),
            Row(sequential, $"sequential sweep of {_mebibytes} MiB right after the restore", "s", move => move.Sweep!.TotalMs / 1000, Goal.AtMost(0.4)),
            Row(sequential, "its page waits, p99", "µs", move => move.Sweep!.WaitP99Us, Goal.AtMost(1)),
            Row(idle, "drain of the same, program idle", "s", move => move.Steps.DrainMs / 1000, Goal.AtMost(1)),
            Row(idle, "standstill as the program saw it", "ms", move => move.StandstillMs, Goal.AtMost(1)),
            Row(idle, "of it: dump; stock: its whole command", "ms", move => move.Steps.DumpMs, null),
            Row(idle, "of it: images", "ms", move => move.Steps.ImagesMs, null),
            Row(idle, "of it: restore; stock: its whole command", "ms", move => move.Steps.RestoreMs, null),
            idle.RowWithin("our own share of it: images and hand-off", "ms", "limit", move => move.Steps.OwnMs, _ => 25),
            Row(idle, "whole move", "s", move => move.TotalMs / 1000, Goal.AtMost(1)),
            Row(idle, "bytes on the wire", "MiB", move => move.WireBytes / (double)(1 << 20), Goal.AtMost(1.05)),
            Row(idle, "CPU time on both hosts", "s/GiB", move => move.CpuSeconds / gibibytes, Goal.AtMost(1)),
            Row(idle, "resident memory of who serves, source", "MiB", move => move.SourceMiB, null),
            Row(idle, "resident memory of who serves, destination", "MiB", move => move.TargetMiB, null),
            Row(idle, "open descriptors of who serves, source", "", move => move.SourceDescriptors, Goal.AtMost(1)),
            Row(idle, "open descriptors of who serves, destination", "", move => move.TargetDescriptors, null),
            Row(full, "memory full of data: random sweep", "s", move => move.Sweep!.TotalMs / 1000, null),
            Row(joined, $"the same with {Join}", "s", move => move.Sweep!.TotalMs / 1000, null),
            Row(joined, "its page waits, p99", "µs", move => move.Sweep!.WaitP99Us, null),
            Row(fullIdle, "full of data, idle: drain", "s", move => move.Steps.DrainMs / 1000, null),
            Row(joinedIdle, $"the same with {Join}", "s", move => move.Steps.DrainMs / 1000, null),
            Row(fullIdle, "full of data, idle: CPU time on both hosts", "s/GiB", move => move.CpuSeconds / gibibytes, null),
            Row(joinedIdle, $"the same with {Join}", "s/GiB", move => move.CpuSeconds / gibibytes, null),
            Row(zeroes, "drain, 14 of 16 pages zero", "s", move => move.Steps.DrainMs / 1000, Goal.AtMost(1)),
            Row(zeroes, "bytes on the wire, 14 of 16 pages zero", "MiB", move => move.WireBytes / (double)(1 << 20), Goal.AtMost(0.25)),
        ];
    }

    private Task<Pairs<Move>> MoveInPairsAsync(Scenario scenario) => Pairs<Move>.RunAsync(_pairs, () => MoveAsync(scenario), () => MoveByStockAsync(scenario));

    /// <summary>Ours as it is, ours with memory joined into huge pages, and the reference of both.</summary>
    private async Task<(Pairs<Move> Plain, Pairs<Move> Joined)> MoveInTurnsAsync(Scenario scenario)
    {
        Pairs<Move> joined = new();
        Pairs<Move> plain = await Pairs<Move>.RunAsync(_pairs, () => MoveAsync(scenario), async () =>
        {
            joined.Ours.Add(await MoveAsync(scenario, Join));
            Move reference = await MoveByStockAsync(scenario);
            joined.Reference.Add(reference);
            return reference;
        });
        return (plain, joined);
    }

    private Task<Move> MoveAsync(Scenario scenario, params string[] options) => mover.MoveByPostCopyAsync(scenario, _mebibytes, options);

    private Task<Move> MoveByStockAsync(Scenario scenario) => mover.MoveByStockAsync(scenario, _mebibytes);
}
