using System.Globalization;

namespace PostCopy.Tests.TestBed;

/// <summary>What the walker says about itself; nonce and start time are in its memory, never written again.</summary>
internal sealed record WalkerStats(int Pid, string Nonce, long StartedNs, long Pages, long Sequence, long Reads, long Writes, long Bad, long MonotonicNs)
{
    public static WalkerStats Parse(string answer)
    {
        AnswerFields fields = new(answer);
        return new WalkerStats((int)fields.Number("pid"), fields.Text("nonce"), fields.Number("started"), fields.Number("pages"),
            fields.Number("sequence"), fields.Number("reads"), fields.Number("writes"), fields.Number("bad"), fields.Number("monotonic"));
    }
}

/// <summary>How long each first touch of a page took, and those that had to wait for the page (sweep.h).</summary>
internal sealed record WalkerSweep(
    string Order, long Pages, double P50Us, double P99Us, double MaxUs, double TotalMs, long Waits, double WaitP50Us, double WaitP99Us)
{
    public static WalkerSweep Parse(string answer)
    {
        AnswerFields fields = new(answer);
        return new WalkerSweep(fields.Text("order"), fields.Number("pages"), fields.Real("p50us"), fields.Real("p99us"),
            fields.Real("maxus"), fields.Real("totalms"), fields.Number("waits"), fields.Real("waitp50us"), fields.Real("waitp99us"));
    }
}

/// <summary>An answer of the form "word name=value name=value".</summary>
internal sealed class AnswerFields(string answer)
{
    private readonly Dictionary<string, string> _values = answer.Split(' ', StringSplitOptions.RemoveEmptyEntries)
        .Where(word => word.Contains('=', StringComparison.Ordinal))
        .ToDictionary(word => word[..word.IndexOf('=', StringComparison.Ordinal)], word => word[(word.IndexOf('=', StringComparison.Ordinal) + 1)..].Trim());

    public string Text(string name) => _values.TryGetValue(name, out string? value)
        ? value
        : throw new FormatException($"no {name} in the walker's answer '{answer}'");

    public long Number(string name) => long.Parse(Text(name), CultureInfo.InvariantCulture);

    public double Real(string name) => double.Parse(Text(name), CultureInfo.InvariantCulture);
}
