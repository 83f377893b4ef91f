using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>
/// One word of a script swapped: <c>postcopy lazy-pages</c> for <c>criu lazy-pages</c> on the same CRIU server, and <c>postcopy page-server</c> for
/// CRIU's below the same <c>criu lazy-pages</c>; in turns, over the same wire.
/// </summary>
internal sealed class DropInComparison : IAsyncDisposable
{
    private const string StockDaemon = "criu lazy-pages";
    private const string StockServer = "CRIU's server";
    private static readonly TimeSpan SweepLimit = TimeSpan.FromMinutes(5);

    private readonly Lab _lab;
    private readonly int _mebibytes;
    private readonly int _rounds;

    private DropInComparison(Lab lab, bool quick)
    {
        _lab = lab;
        _mebibytes = quick ? 128 : 1024;
        _rounds = quick ? 1 : 5;
    }

    public static async Task<DropInComparison> UpAsync(bool quick) => new(await Lab.UpAsync("a", "b"), quick);

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        (Pairs<Swapped> daemon, Pairs<Swapped> server) random = await MoveInTurnsAsync(Scenario.RandomSweep);
        (Pairs<Swapped> daemon, Pairs<Swapped> server) sequential = await MoveInTurnsAsync(Scenario.SequentialSweep);
        (Pairs<Swapped> daemon, Pairs<Swapped> server) idle = await MoveInTurnsAsync(Scenario.Idle);
        return
        [
            .. Rows("our daemon, CRIU's server", StockDaemon, random.daemon, sequential.daemon, idle.daemon, Goal.AtMost(0.5)),
            .. Rows("criu lazy-pages, our server", StockServer, random.server, sequential.server, idle.server, Goal.AtMost(1)),
        ];
    }

    public ValueTask DisposeAsync() => _lab.DisposeAsync();

    private List<Row> Rows(string who, string reference, Pairs<Swapped> random, Pairs<Swapped> sequential, Pairs<Swapped> idle, Goal sweepGoal) =>
    [
        random.Row($"{who}: random sweep of {_mebibytes} MiB", "s", reference, run => run.Sweep!.TotalMs / 1000, sweepGoal),
        random.Row($"{who}: its page waits", "", reference, run => run.Sweep!.Waits),
        random.Row($"{who}: their p50", "µs", reference, run => run.Sweep!.WaitP50Us),
        random.Row($"{who}: their p99", "µs", reference, run => run.Sweep!.WaitP99Us),
        sequential.Row($"{who}: sequential sweep", "s", reference, run => run.Sweep!.TotalMs / 1000, Goal.AtMost(1)),
        idle.Row($"{who}: drain, program idle", "s", reference, run => run.Times.Drain.TotalSeconds, Goal.AtMost(1)),
    ];

    /// <summary>CRIU alone, which both are compared with, and each of ours in turn.</summary>
    private async Task<(Pairs<Swapped> Daemon, Pairs<Swapped> Server)> MoveInTurnsAsync(Scenario scenario)
    {
        Pairs<Swapped> daemon = new(), server = new();
        for (int round = 0; round < _rounds; round++)
        {
            daemon.Ours.Add(await MoveOnceAsync(scenario, ourServer: false, ourDaemon: true));
            Swapped stock = await MoveOnceAsync(scenario, ourServer: false, ourDaemon: false);
            daemon.Reference.Add(stock);
            server.Reference.Add(stock);
            server.Ours.Add(await MoveOnceAsync(scenario, ourServer: true, ourDaemon: false));
        }

        return (daemon, server);
    }

    private async Task<Swapped> MoveOnceAsync(Scenario scenario, bool ourServer, bool ourDaemon)
    {
        Console.Error.Write($"perf: {_mebibytes} MiB, {scenario.Name}, {(ourServer ? "our" : "CRIU's")} server, {(ourDaemon ? "our" : "CRIU's")} daemon: ");
        Walker walker = await Walker.StartAsync(_lab, _lab["a"], _mebibytes, contents: scenario.Contents);
        await walker.RestAsync();
        if (scenario.Sweep is { } order)
        {
            await walker.SweepOnMoveAsync(order);
        }

        StockTimes times = await StockMigration.RunAsync(_lab, walker.Container, _lab["a"], _lab["b"], ourServer: ourServer, ourDaemon: ourDaemon);
        WalkerSweep? sweep = scenario.Sweep is null ? null : await walker.SweepAfterMoveAsync(SweepLimit);
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        Console.Error.WriteLine($"drained in {times.Drain.TotalMilliseconds:0} ms{(sweep is null ? "" : $", swept in {sweep.TotalMs:0} ms")}");

        await walker.Container.RemoveFromAsync(_lab["b"]);
        foreach (string leftover in Directory.GetDirectories(_lab.Shared, "walker*").Concat(Directory.GetDirectories(_lab.Shared, "stock-*")))
        {
            Directory.Delete(leftover, recursive: true);
        }

        return new Swapped(times, sweep);
    }

    private sealed record Swapped(StockTimes Times, WalkerSweep? Sweep);
}
