using System.Text.Json;

namespace PostCopy.Check;

/// <summary>What a host can do, one item per thing tried. A destination's report travels to the source as JSON.</summary>
/// <param name="Items">In the order they were tried; ids are unique.</param>
public sealed record HostCheckReport(IReadOnlyList<HostCheckItem> Items)
{
    /// <summary>Nothing that a source needs is missing.</summary>
    public bool CanSend => Can(MigrationSides.Source);

    /// <summary>Nothing that a destination needs is missing.</summary>
    public bool CanReceive => Can(MigrationSides.Destination);

    /// <summary>The report as JSON; <see cref="Parse"/> reads it back.</summary>
    public string ToJson(bool indented = false) =>
        JsonSerializer.Serialize(this, (indented ? HostCheckJson.Indented : HostCheckJson.Default).HostCheckReport);

    /// <summary>Reads a report that a peer sent. Whatever the peer claims beside the items (its own verdict) is ignored.</summary>
    /// <exception cref="InvalidDataException">It is not a report, or exceeds one of <see cref="HostCheckLimits"/>.</exception>
    public static HostCheckReport Parse(ReadOnlySpan<byte> utf8Json)
    {
        if (utf8Json.Length > HostCheckLimits.MaxReportBytes)
        {
            throw new InvalidDataException($"Host report: {utf8Json.Length} bytes, at most {HostCheckLimits.MaxReportBytes} are accepted.");
        }

        try
        {
            HostCheckReport? report = JsonSerializer.Deserialize(utf8Json, HostCheckJson.Default.HostCheckReport);
            HostCheckLimits.Validate(report);
            return report;
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"Host report: not valid at {exception.Path ?? "its root"}, line {exception.LineNumber}.", exception);
        }
    }

    private bool Can(MigrationSides side) =>
        Items.Count > 0 && !Items.Any(item => item.Result == HostCheckResult.Missing && item.NeededBy.HasFlag(side));
}
