namespace PostCopy.Perf.Comparison;

/// <summary>Runs of ours and of the reference, made in turns, so that what changes on the machine meanwhile changes for both.</summary>
internal sealed class Pairs<T>
{
    public List<T> Ours { get; } = [];

    public List<T> Reference { get; } = [];

    public static async Task<Pairs<T>> RunAsync(int count, Func<Task<T>> ours, Func<Task<T>> reference)
    {
        Pairs<T> pairs = new();
        for (int i = 0; i < count; i++)
        {
            pairs.Ours.Add(await ours());
            pairs.Reference.Add(await reference());
        }

        return pairs;
    }

    public Row Row(string measure, string unit, string referenceName, Func<T, double> value, Goal? goal = null) =>
        new(measure, unit, Median(Ours, value), Median(Reference, value), referenceName, goal);

    /// <summary>Against a limit, or against what the same run makes of one.</summary>
    public Row RowWithin(string measure, string unit, string limitName, Func<T, double> value, Func<T, double> limit) =>
        new(measure, unit, Median(Ours, value), Median(Ours, limit), limitName, Goal.AtMost(1));

    public static double Median(IEnumerable<T> runs, Func<T, double> value)
    {
        double[] sorted = [.. runs.Select(value).Order()];
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[(sorted.Length / 2) - 1] + sorted[sorted.Length / 2]) / 2;
    }
}
