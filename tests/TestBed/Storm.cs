using System.Globalization;

namespace PostCopy.Tests.TestBed;

/// <summary>The container that does everything to its memory that programs do (tests/TestPrograms/storm).</summary>
internal sealed class Storm
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly string _directory;

    private Storm(string directory)
    {
        _directory = directory;
        Log = new ProgramLog(directory);
    }

    public Container Container { get; private init; } = new("none", "none");

    /// <summary>As a bare process tree: its root, in the host's pid namespace.</summary>
    public int Pid { get; private init; }

    public ProgramLog Log { get; }

    /// <summary>Starts it and waits until every worker has done some rounds: their memory is filled then.</summary>
    public static async Task<Storm> StartAsync(Lab lab, LabHost host, ulong seed, params string[] workers)
    {
        string directory = $"{lab.Shared}/storm";
        Directory.CreateDirectory(directory);
        string bundle = await Bundle.MakeAsync(lab, "storm-bundle", "host", [$"{directory}:/storm"],
            [$"{lab.Programs}/storm", "/storm", seed.ToString(CultureInfo.InvariantCulture), .. workers]);
        Storm storm = new(directory) { Container = await Container.RunAsync(host, "storm", bundle) };
        await storm.WaitForRoundsAsync(5);
        return storm;
    }

    /// <summary>Starts it as a bare process tree, in a session of its own and without a terminal, below a pid that no other host of the lab has.</summary>
    public static Task<Storm> StartBareAsync(Lab lab, LabHost host, ulong seed, params string[] workers) =>
        StartBareAsync(lab, host, seed, [$"{lab.Programs}/storm"], workers);

    /// <summary>The same with another program that takes a directory and a seed, and answers in the same files.</summary>
    public static async Task<Storm> StartBareAsync(Lab lab, LabHost host, ulong seed, string[] command, string[] workers)
    {
        string directory = $"{lab.Shared}/storm-bare";
        Directory.CreateDirectory(directory);
        int pid = await BareTree.StartAsync(host, [.. command, directory, seed.ToString(CultureInfo.InvariantCulture), .. workers]);
        Storm storm = new(directory) { Pid = pid };
        await storm.WaitForRoundsAsync(5);
        return storm;
    }

    /// <summary>Waits until every worker has done this many rounds more.</summary>
    public async Task WaitForRoundsAsync(long more)
    {
        Dictionary<string, long> before = Rounds();
        await Condition.WaitAsync(
            () =>
            {
                AssertNothingWrong();
                Dictionary<string, long> now = Rounds();
                return now.Count > 0 && now.All(worker => worker.Value >= before.GetValueOrDefault(worker.Key) + more);
            },
            Limit,
            $"{more} rounds of every worker");
    }

    /// <summary>Has every worker check all its memory once more and end; fails with what they found wrong.</summary>
    public async Task FinishAsync()
    {
        await File.WriteAllTextAsync($"{_directory}/stop", "");
        await Condition.WaitAsync(() => File.Exists(ResultPath), Limit, $"the end of all workers; so far: {string.Join(", ", Rounds())}");
        AssertNothingWrong();
    }

    /// <summary>Has the worker vfork stay in the kernel until <see cref="Release"/>, and be there seldom after that; waits until it is.</summary>
    public async Task HoldAsync()
    {
        await File.WriteAllTextAsync($"{_directory}/seldom", "");
        await File.WriteAllTextAsync($"{_directory}/hold", "");
        await Condition.WaitAsync(() => File.Exists($"{_directory}/held"), Limit, "the worker vfork to wait for its child");
    }

    public void Release() => File.Delete($"{_directory}/hold");

    /// <summary>Rounds that each worker has done.</summary>
    public Dictionary<string, long> Rounds()
    {
        string path = $"{_directory}/status";
        return File.Exists(path)
            ? File.ReadLines(path).Select(line => line.Split(' ')).ToDictionary(words => words[0], words => long.Parse(words[1], CultureInfo.InvariantCulture))
            : [];
    }

    private string ResultPath => $"{_directory}/result";

    private void AssertNothingWrong()
    {
        if (File.Exists(ResultPath))
        {
            Assert.Equal("OK", File.ReadAllText(ResultPath).Trim());
        }
    }
}
