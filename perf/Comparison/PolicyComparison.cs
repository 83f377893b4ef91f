namespace PostCopy.Perf.Comparison;

/// <summary>The push policies on several ways of using memory, over a link that is slower than the program.</summary>
internal sealed class PolicyComparison(Mover mover, bool quick)
{
    private const int Megabits = 1000;

    private static readonly string[] Policies = ["sequential", "neighbours", "none"];

    private readonly int _mebibytes = quick ? 64 : 256;
    private readonly int _rounds = quick ? 1 : 3;

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        List<Row> rows = [];
        await mover.Lab["a"].LimitLinkAsync(Megabits);
        try
        {
            foreach (Scenario scenario in (Scenario[])[Scenario.SequentialSweep, Scenario.StridedSweep, Scenario.RandomSweep, Scenario.ZipfSweep])
            {
                Dictionary<string, List<Move>> moves = Policies.ToDictionary(static policy => policy, static _ => new List<Move>());
                for (int i = 0; i < _rounds; i++)
                {
                    foreach (string policy in Policies)
                    {
                        moves[policy].Add(await mover.MoveByPostCopyAsync(scenario, _mebibytes, "--policy", policy));
                    }
                }

                double sequential = Sweep(moves["sequential"]);
                rows.AddRange(Policies.Select(policy => new Row(
                    $"{scenario.Name} of {_mebibytes} MiB at {Megabits / 1000} Gbit/s, --policy {policy}", "s", Sweep(moves[policy]), policy == "sequential" ? null : sequential, "sequential", null)));
            }
        }
        finally
        {
            await mover.Lab["a"].UnlimitRateAsync();
        }

        return rows;
    }

    private static double Sweep(List<Move> moves) => Pairs<Move>.Median(moves, static move => move.Sweep!.TotalMs / 1000);
}
