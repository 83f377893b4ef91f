using System.Globalization;

namespace PostCopy.Tests.TestBed;

/// <summary>What a moved program says about itself every few milliseconds: where it is, and a number that it counts in its memory.</summary>
internal sealed class ProgramLog(string directory)
{
    /// <summary>Waits until the program has written another line, so it runs.</summary>
    public async Task WaitForAnotherLineAsync(TimeSpan limit)
    {
        int lines = Read().Count;
        await Condition.WaitAsync(() => Read().Count > lines, limit, "another line in the program's log");
    }

    /// <summary>The two-copies oracle: the program counted on without a gap, and was first here, then there.</summary>
    public void AssertRanOn(params string[] hosts)
    {
        List<ProgramLogLine> log = Read();
        for (int line = 0; line < log.Count; line++)
        {
            Assert.True(log[line].Sequence == line, $"line {line} of the log is '{log[line]}': it ran twice, or a copy went back");
        }

        IEnumerable<string> visited = log.Select(line => line.Host)
            .Aggregate(new List<string>(), (seen, host) => seen.LastOrDefault() == host ? seen : [.. seen, host]);
        Assert.Equal(hosts, visited);
    }

    /// <summary>The longest time between two lines.</summary>
    public TimeSpan LongestSilence()
    {
        List<ProgramLogLine> log = Read();
        return TimeSpan.FromMicroseconds(log.Zip(log.Skip(1), (before, after) => after.UnixUs - before.UnixUs).Max());
    }

    // The last line may be half written on a file system that shows it early; it counts when it is whole.
    public List<ProgramLogLine> Read()
    {
        string text = File.ReadAllText($"{directory}/log");
        return [.. text[..(text.LastIndexOf('\n') + 1)].Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(ProgramLogLine.Parse)];
    }
}

internal readonly record struct ProgramLogLine(string Host, long Sequence, long UnixUs)
{
    public static ProgramLogLine Parse(string line)
    {
        string[] fields = line.Split(' ');
        return new ProgramLogLine(
            fields[0], long.Parse(fields[1], CultureInfo.InvariantCulture), long.Parse(fields[2], CultureInfo.InvariantCulture));
    }
}
