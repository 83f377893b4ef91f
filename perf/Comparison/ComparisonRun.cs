using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>Everything that the project says about its speed, in one run on one machine.</summary>
internal static class ComparisonRun
{
    /// <summary>Exit code 0 when all was measured and every answer was right; goals that are missed are shown, not failed.</summary>
    /// <param name="quick">Smaller and fewer.</param>
    /// <param name="dropIn">Each of our drop-ins against CRIU's own, instead of whole migrations.</param>
    public static async Task<int> RunAsync(bool quick, bool dropIn)
    {
        Machine machine = Machine.Describe();
        Console.Error.WriteLine($"perf: {machine}");
        if (machine.LoadAverage > 0.5)
        {
            Console.Error.WriteLine("perf: something else keeps this machine busy: the numbers will be noisy");
        }

        IReadOnlyList<Row> rows = dropIn ? await DropInAsync(quick) : await MigrationsAsync(quick);
        string directory = Path.Combine(Repository.Root, "perf", "results");
        Directory.CreateDirectory(directory);
        string command = $"eng/bench.sh{(dropIn ? " --drop-in" : "")}{(quick ? " --quick" : "")}";
        string table = Results.Markdown(machine, command, rows);
        string name = dropIn ? "drop-in" : "latest";
        await File.WriteAllTextAsync(Path.Combine(directory, name + ".md"), table);
        await File.WriteAllTextAsync(Path.Combine(directory, name + ".json"), Results.Json(machine, quick, rows));
        Console.WriteLine(table);
        return 0;
    }

    private static async Task<IReadOnlyList<Row>> MigrationsAsync(bool quick)
    {
        BarePathComparison bare = new(quick);
        IReadOnlyList<Row> rows = await bare.RunAsync();
        await using ContainerComparison container = await ContainerComparison.UpAsync(quick);
        return [.. await container.RunAsync(), .. rows];
    }

    private static async Task<IReadOnlyList<Row>> DropInAsync(bool quick)
    {
        await using DropInComparison comparison = await DropInComparison.UpAsync(quick);
        return await comparison.RunAsync();
    }
}
