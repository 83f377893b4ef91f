using PostCopy.Perf.Support;
using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>Everything that the project says about its speed, in one run on one machine.</summary>
internal static class ComparisonRun
{
    private const string BarePath = "bare";
    private const string Crowd = "crowd";
    private const string Zeroes = "zeroes";
    private const string Tls = "tls";
    private const string Containers = "containers";
    private const string Large = "large";
    private const string Links = "links";
    private const string Policies = "policies";
    private const string DropIn = "drop-in";

    /// <summary>In the order in which they are measured.</summary>
    public static readonly IReadOnlyList<string> Parts = [BarePath, Crowd, Zeroes, Tls, Containers, Large, Links, Policies, DropIn];

    /// <summary>Exit code 0 when all was measured and every answer was right; goals that are missed are shown, not failed.</summary>
    public static async Task<int> RunAsync(bool quick, IReadOnlyList<string> parts)
    {
        Machine machine = Machine.Describe();
        Console.Error.WriteLine($"perf: {machine}");
        if (machine.LoadAverage > 0.5)
        {
            Console.Error.WriteLine("perf: something else keeps this machine busy: the numbers will be noisy");
        }

        using FreeMemory kept = FreeMemory.Keep();
        Dictionary<string, IReadOnlyList<Row>> rows = [];
        await using (Mover? mover = parts.Any(static part => part is Containers or Large or Links or Policies or DropIn) ? await Mover.UpAsync() : null)
        {
            foreach (string part in Parts.Where(parts.Contains))
            {
                rows[part] = await MeasureAsync(part, quick, mover!);
            }
        }

        string name = parts.SequenceEqual(Parts) ? "latest" : string.Join('-', parts);
        string directory = Path.Combine(Repository.Root, "perf", "results");
        Directory.CreateDirectory(directory);
        string table = Results.Markdown(machine, $"{(quick ? " --quick" : "")}{(name == "latest" ? "" : $" --only {string.Join(',', parts)}")}", rows);
        await File.WriteAllTextAsync(Path.Combine(directory, $"{name}.md"), table);
        await File.WriteAllTextAsync(Path.Combine(directory, $"{name}.json"), Results.Json(machine, quick, rows));
        Console.WriteLine(table);
        return 0;
    }

    private static Task<IReadOnlyList<Row>> MeasureAsync(string part, bool quick, Mover mover) => part switch
    {
        BarePath => new BarePathComparison(quick).RunAsync(),
        Crowd => new CrowdComparison(quick).RunAsync(),
        Zeroes => new ZeroComparison(quick).RunAsync(),
        Tls => new TlsComparison(quick).RunAsync(),
        Containers => new ContainerComparison(mover, quick).RunAsync(),
        Large => new LargeComparison(mover, quick).RunAsync(),
        Links => new LinkComparison(mover, quick).RunAsync(),
        Policies => new PolicyComparison(mover, quick).RunAsync(),
        _ => new DropInComparison(mover, quick).RunAsync(),
    };
}
