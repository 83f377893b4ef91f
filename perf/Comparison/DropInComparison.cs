namespace PostCopy.Perf.Comparison;

/// <summary>
/// One word of a script swapped: <c>postcopy lazy-pages</c> for <c>criu lazy-pages</c> on the same CRIU server, and <c>postcopy page-server</c> for
/// CRIU's below the same <c>criu lazy-pages</c>; in turns, over the same wire.
/// </summary>
internal sealed class DropInComparison(Mover mover, bool quick)
{
    private readonly int _mebibytes = quick ? 256 : 1024;
    private readonly int _rounds = quick ? 1 : 3;

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        (Pairs<Move> daemon, Pairs<Move> server) random = await MoveInTurnsAsync(Scenario.RandomSweep);
        (Pairs<Move> daemon, Pairs<Move> server) sequential = await MoveInTurnsAsync(Scenario.SequentialSweep);
        (Pairs<Move> daemon, Pairs<Move> server) idle = await MoveInTurnsAsync(Scenario.Idle);
        return
        [
            .. Rows("postcopy lazy-pages on CRIU's server", "criu lazy-pages", random.daemon, sequential.daemon, idle.daemon, Goal.AtMost(0.5)),
            .. Rows("criu lazy-pages on postcopy page-server", "CRIU's server", random.server, sequential.server, idle.server, Goal.AtMost(1)),
        ];
    }

    private List<Row> Rows(string who, string reference, Pairs<Move> random, Pairs<Move> sequential, Pairs<Move> idle, Goal goal) =>
    [
        random.Row($"{who}: random sweep of {_mebibytes} MiB", "s", reference, move => move.Sweep!.TotalMs / 1000, goal),
        random.Row("its page waits", "", reference, move => move.Sweep!.Waits),
        random.Row("their p50", "µs", reference, move => move.Sweep!.WaitP50Us),
        random.Row("their p99", "µs", reference, move => move.Sweep!.WaitP99Us),
        sequential.Row($"{who}: sequential sweep", "s", reference, move => move.Sweep!.TotalMs / 1000, Goal.AtMost(1)),
        idle.Row($"{who}: drain, program idle", "s", reference, move => move.Steps.DrainMs / 1000, Goal.AtMost(1)),
    ];

    /// <summary>CRIU alone, which both are compared with, and each of ours.</summary>
    private async Task<(Pairs<Move> Daemon, Pairs<Move> Server)> MoveInTurnsAsync(Scenario scenario)
    {
        Pairs<Move> daemon = new(), server = new();
        for (int round = 0; round < _rounds; round++)
        {
            daemon.Ours.Add(await mover.MoveByStockAsync(scenario, _mebibytes, ourServer: false, ourDaemon: true));
            Move stock = await mover.MoveByStockAsync(scenario, _mebibytes);
            daemon.Reference.Add(stock);
            server.Reference.Add(stock);
            server.Ours.Add(await mover.MoveByStockAsync(scenario, _mebibytes, ourServer: true, ourDaemon: false));
        }

        return (daemon, server);
    }
}
