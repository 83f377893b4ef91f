using System.Globalization;
using PostCopy.Memory;
using PostCopy.Migrate;
using static System.FormattableString;

namespace PostCopy.Display;

/// <summary>The report for a person.</summary>
internal static class ReportText
{
    /// <summary>For commands that know no more than a session's name.</summary>
    internal static string Where(MigrationOutcome outcome) => outcome switch
    {
        MigrationOutcome.Moved => "the container runs on the destination; nothing is left here.",
        MigrationOutcome.Refused => "the container was not touched.",
        MigrationOutcome.RolledBack => "the container stays here, and nowhere else.",
        MigrationOutcome.HandedOff => "the container was handed off and is frozen here; do not thaw it.",
        MigrationOutcome.Lost => "the container is lost, or memory of it.",
        _ => outcome.ToString(),
    };

    internal static void Write(TextWriter output, MigrationOptions options, MigrationReport report)
    {
        string container = options.ContainerId ?? Invariant($"process {options.ProcessId}");
        string destination = options.Destination.ToString();
        output.WriteLine(report.Outcome switch
        {
            MigrationOutcome.Moved => $"{container} runs on {destination}{(options.DestinationId is { } id ? $" as {id}" : "")}; nothing is left here.",
            MigrationOutcome.Refused => $"{container} was not touched: it is where and as it was.",
            MigrationOutcome.RolledBack => $"{container} stays here as it was, and nowhere else.",
            MigrationOutcome.HandedOff => $"{container} was handed off to {destination}, but pages are still owed. Its frozen copy is kept here; do not thaw it.",
            MigrationOutcome.Lost => $"{container} is lost, or memory of it.",
            _ => report.Outcome.ToString(),
        });
        if (report.Pages.Total == 0)
        {
            return;
        }

        PageCounts pages = report.Pages;
        Line(output, "downtime", Invariant($"{Quantity.Milliseconds(report.DowntimeMs)} ({Error(report.DowntimeErrorMs)}): dump {report.FreezeMs + report.DumpMs:F1}, images {report.ImagesMs:F1}, restore {report.RestoreMs:F1}"));
        Line(output, "drain", Invariant($"{Quantity.Milliseconds(report.DrainMs)} at {report.RateMBps:F0} MB/s; in all {Quantity.Milliseconds(report.TotalMs)}"));
        Line(output, "memory", Invariant($"{Quantity.Bytes(PageSize.ToBytes(pages.Total))}: {pages.Pushed} pages pushed, {pages.Faulted} faulted, {pages.Zero} zero, {pages.Dropped} dropped, {pages.Resent} sent twice"));
        if (report.Memory.DestinationBytes > report.Memory.SourceBytes + (report.Memory.SourceBytes / 10))
        {
            Line(output, "growth", Invariant($"{Quantity.Bytes(report.Memory.SourceBytes)} here, {Quantity.Bytes(report.Memory.DestinationBytes)} there: pages that processes shared are each one's own"));
        }

        if (report.PreCopy is { } preCopy)
        {
            Line(output, "pre-copy", Invariant($"{preCopy.Rounds.Count} rounds ({KebabWord.Of(preCopy.Ended)}): {pages.Staged} pages were there at the freeze, {pages.Stale} had been written since; {Quantity.Bytes(preCopy.BytesBefore)} before it, {Quantity.Bytes(preCopy.BytesAfter)} behind"));
            Line(output, "", Invariant($"faults served there: {preCopy.FaultsServedLocally}, from here: {preCopy.FaultsServedRemotely}"));
        }

        Line(output, "faults", Invariant($"{report.Faults.Count} waited for the source: p50 {report.Faults.P50Us:F0} µs, p99 {report.Faults.P99Us:F0} µs, longest {report.Faults.MaxUs:F0} µs"));
        Line(output, "wire", Invariant($"{Quantity.Bytes(report.BytesOnWire)}, policy {KebabWord.Of(report.Policy)}"));
        Line(output, "session", report.Session);
    }

    private static string Error(double? errorMs) => errorMs is { } ms ? "± " + Quantity.Milliseconds(ms) : "clocks not compared";

    private static void Line(TextWriter output, string name, string text) =>
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {name,-9} {text}"));
}
