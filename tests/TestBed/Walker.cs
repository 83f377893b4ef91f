using System.Globalization;

namespace PostCopy.Tests.TestBed;

/// <summary>The container whose memory proves itself (tests/TestPrograms/walker.c).</summary>
internal sealed class Walker
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly string _directory;
    private int _commands;

    private Walker(Container container, string directory)
    {
        Container = container;
        _directory = directory;
    }

    public Container Container { get; }

    public static async Task<Walker> StartAsync(
        Lab lab, LabHost host, int mebibytes, int threads = 2, string network = "host", string contents = "mixed")
    {
        string directory = $"{lab.Shared}/walker";
        Directory.CreateDirectory(directory);
        string bundle = await Bundle.MakeAsync(lab, "walker-bundle", network, [$"{directory}:/walker"],
            $"{lab.Programs}/walker", "/walker", $"{mebibytes}", $"{threads}", contents);
        Walker walker = new(await Container.RunAsync(host, "walker", bundle), directory);
        await walker.StatsAsync();
        return walker;
    }

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
    public async Task WaitUntilItLivesAsync()
    {
        int lines = ReadLog().Count;
        await Condition.WaitAsync(() => ReadLog().Count > lines, Limit, "another line in the walker's log");
    }

    /// <summary>The two-copies oracle: the program counted on without a gap, and was first here, then there.</summary>
    public void AssertRanOn(params string[] hosts)
    {
        List<WalkerLogLine> log = ReadLog();
        for (int line = 0; line < log.Count; line++)
        {
            Assert.True(log[line].Sequence == line, $"line {line} of the log is '{log[line]}': it ran twice, or a copy went back");
        }

        IEnumerable<string> visited = log.Select(line => line.Host)
            .Aggregate(new List<string>(), (seen, host) => seen.LastOrDefault() == host ? seen : [.. seen, host]);
        Assert.Equal(hosts, visited);
    }

    /// <summary>The longest time between two lines: how long the program stood still, as it was seen from outside.</summary>
    public TimeSpan LongestSilence()
    {
        List<WalkerLogLine> log = ReadLog();
        return TimeSpan.FromMicroseconds(log.Zip(log.Skip(1), (before, after) => after.UnixUs - before.UnixUs).Max());
    }

    // The last line may be half written on a file system that shows it early; it counts when it is whole.
    public List<WalkerLogLine> ReadLog()
    {
        string text = File.ReadAllText($"{_directory}/log");
        return [.. text[..(text.LastIndexOf('\n') + 1)].Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(WalkerLogLine.Parse)];
    }
}

internal readonly record struct WalkerLogLine(string Host, long Sequence, long UnixUs)
{
    public static WalkerLogLine Parse(string line)
    {
        string[] fields = line.Split(' ');
        return new WalkerLogLine(
            fields[0], long.Parse(fields[1], CultureInfo.InvariantCulture), long.Parse(fields[2], CultureInfo.InvariantCulture));
    }
}
