namespace PostCopy.Perf.Comparison;

/// <summary>What a large container costs us, against what a small one does.</summary>
internal sealed class LargeComparison(Mover mover, bool quick)
{
    private readonly int _large = quick ? 1024 : 8192;
    private readonly int _small = quick ? 256 : 1024;

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        Move large = await mover.MoveByPostCopyAsync(Scenario.Idle, _large);
        Move small = await mover.MoveByPostCopyAsync(Scenario.Idle, _small);
        string reference = $"ours, {_small} MiB";
        return
        [
            new Row($"most resident memory of a process of ours, {_large} MiB moved", "MiB", large.LargestMiB, 150, "limit", Goal.AtMost(1)),
            new Row("the same, against that of a smaller container", "MiB", large.LargestMiB, small.LargestMiB, reference, null),
            new Row("drain of it", "GB/s", Rate(_large, large), Rate(_small, small), reference, null),
        ];
    }

    private static double Rate(int mebibytes, Move move) => mebibytes * 1.048576 / move.Steps.DrainMs;
}
