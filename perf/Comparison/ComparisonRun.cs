using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>Everything that the project says about its speed, in one run on one machine.</summary>
internal static class ComparisonRun
{
    /// <summary>Exit code 0 when all was measured and every answer was right; goals that are missed are shown, not failed.</summary>
    public static async Task<int> RunAsync(bool quick)
    {
        Machine machine = Machine.Describe();
        Console.Error.WriteLine($"perf: {machine}");
        if (machine.LoadAverage > 0.5)
        {
            Console.Error.WriteLine("perf: something else keeps this machine busy: the numbers will be noisy");
        }

        BarePathComparison bare = new(quick);
        List<Row> rows = [.. await bare.RunAsync()];
        await using (ContainerComparison container = await ContainerComparison.UpAsync(quick))
        {
            rows.InsertRange(0, await container.RunAsync());
        }

        string directory = Path.Combine(Repository.Root, "perf", "results");
        Directory.CreateDirectory(directory);
        string table = Results.Markdown(machine, quick, rows);
        await File.WriteAllTextAsync(Path.Combine(directory, "latest.md"), table);
        await File.WriteAllTextAsync(Path.Combine(directory, "latest.json"), Results.Json(machine, quick, rows));
        Console.WriteLine(table);
        return 0;
    }
}
