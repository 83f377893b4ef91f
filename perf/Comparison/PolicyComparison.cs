using PostCopy.Tests.TestBed;

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
        RedisLoad redis = new(mover, _mebibytes);
        await mover.Lab["a"].LimitLinkAsync(Megabits);
        try
        {
            foreach (Scenario scenario in (Scenario[])[Scenario.SequentialSweep, Scenario.StridedSweep, Scenario.RandomSweep, Scenario.ZipfSweep])
            {
                Dictionary<string, List<WalkerSweep>> sweeps = await RunInTurnsAsync(policy => mover.SweepByPostCopyAsync(scenario, _mebibytes, "--policy", policy));
                rows.AddRange(Rows(scenario.Name, "s", sweeps, static sweep => sweep.TotalMs / 1000));
            }

            Dictionary<string, List<RedisLoad.Load>> loads = await RunInTurnsAsync(policy => redis.MoveAsync("--policy", policy));
            rows.AddRange(Rows($"{RedisLoad.Requests} random reads of Redis", "s", loads, static load => load.Seconds));
            rows.AddRange(Rows("a read's p99, Redis", "ms", loads, static load => load.P99Ms));
        }
        finally
        {
            await mover.Lab["a"].UnlimitRateAsync();
        }

        return rows;
    }

    private async Task<Dictionary<string, List<T>>> RunInTurnsAsync<T>(Func<string, Task<T>> move)
    {
        Dictionary<string, List<T>> results = Policies.ToDictionary(static policy => policy, static _ => new List<T>());
        for (int i = 0; i < _rounds; i++)
        {
            foreach (string policy in Policies)
            {
                results[policy].Add(await move(policy));
            }
        }

        return results;
    }

    private IEnumerable<Row> Rows<T>(string measure, string unit, Dictionary<string, List<T>> results, Func<T, double> value)
    {
        double sequential = Pairs<T>.Median(results["sequential"], value);
        return Policies.Select(policy => new Row(
            $"{measure}, {_mebibytes} MiB at {Megabits / 1000} Gbit/s, --policy {policy}", unit, Pairs<T>.Median(results[policy], value), policy == "sequential" ? null : sequential, "sequential", null));
    }
}
