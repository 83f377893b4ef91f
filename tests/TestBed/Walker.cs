namespace PostCopy.Tests.TestBed;

/// <summary>The container whose memory proves itself (tests/TestPrograms/walker.c).</summary>
internal sealed class Walker
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly string _directory;
    private readonly ProgramLog _log;
    private int _commands;

    private Walker(Container container, string directory)
    {
        Container = container;
        _directory = directory;
        _log = new ProgramLog(directory);
    }

    public Container Container { get; }

    public static async Task<Walker> StartAsync(
        Lab lab, LabHost host, int mebibytes, int threads = 2, string network = "host", string contents = "mixed", string name = "walker", Func<string, Task>? configure = null)
    {
        string directory = $"{lab.Shared}/{name}";
        Directory.CreateDirectory(directory);
        string bundle = await Bundle.MakeAsync(lab, $"{name}-bundle", network, [$"{directory}:/walker"],
            $"{lab.Programs}/walker", "/walker", $"{mebibytes}", $"{threads}", contents);
        await (configure?.Invoke(bundle) ?? Task.CompletedTask);
        Walker walker = new(await Container.RunAsync(host, name, bundle), directory);
        await walker.StatsAsync();
        return walker;
    }

    /// <summary>One that runs in no container, and was given this directory.</summary>
    public static Walker At(string directory) => new(new Container("none", "none"), directory);

    /// <summary>Has the program check every byte of its memory.</summary>
    public async Task VerifyAsync()
    {
        string answer = await CommandAsync("verify");
        Assert.StartsWith("OK ", answer, StringComparison.Ordinal);
    }

    public async Task<WalkerStats> StatsAsync() => WalkerStats.Parse(await CommandAsync("stats"));

    /// <summary>Has the program touch every page once, in this order, as soon as it runs on another host.</summary>
    public async Task SweepOnMoveAsync(string order) => Assert.Equal("armed", await CommandAsync($"on-move sweep {order}"));

    /// <summary>Has its threads touch nothing any more; the log goes on.</summary>
    public async Task RestAsync() => Assert.Equal("resting", await CommandAsync("rest"));

    /// <summary>Has the program touch every page once, in this order, now.</summary>
    public async Task<WalkerSweep> SweepAsync(string order) => WalkerSweep.Parse(await CommandAsync($"sweep {order}"));

    public async Task<WalkerSweep> SweepAfterMoveAsync(TimeSpan limit)
    {
        string path = $"{_directory}/moved";
        await Condition.WaitAsync(() => File.Exists(path), limit, "the program's sweep after the move");
        return WalkerSweep.Parse(await File.ReadAllTextAsync(path));
    }

    public async Task<string> CommandAsync(string command)
    {
        string id = $"c{Environment.ProcessId}.{Interlocked.Increment(ref _commands)}";
        await File.WriteAllTextAsync($"{_directory}/command.new", $"{id} {command}\n");
        File.Move($"{_directory}/command.new", $"{_directory}/command", overwrite: true);
        string answer = "";
        await Condition.WaitAsync(
            () => File.Exists($"{_directory}/answer")
                && (answer = File.ReadAllText($"{_directory}/answer")).StartsWith($"{id} ", StringComparison.Ordinal),
            Limit,
            $"the walker's answer to '{command}'");
        return answer[(id.Length + 1)..].Trim();
    }

    /// <summary>Waits until the program has written another line, so it runs.</summary>
    public Task WaitUntilItLivesAsync() => _log.WaitForAnotherLineAsync(Limit);

    /// <summary>Its last words, written before it died of what it saw: there must be none.</summary>
    public void AssertNothingBadWasSeen() => Assert.False(File.Exists($"{_directory}/bad"), "the program saw wrong bytes");

    /// <summary>The two-copies oracle: see <see cref="ProgramLog"/>.</summary>
    public void AssertRanOn(params string[] hosts) => _log.AssertRanOn(hosts);

    /// <summary>How long the program stood still, as it was seen from outside.</summary>
    public TimeSpan LongestSilence() => _log.LongestSilence();

    public List<ProgramLogLine> ReadLog() => _log.Read();
}
