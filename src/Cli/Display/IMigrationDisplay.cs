using PostCopy.Memory;
using PostCopy.Migrate;
using PostCopy.PreCopy;

namespace PostCopy.Display;

/// <summary>Shows a migration while it runs, on standard error.</summary>
internal interface IMigrationDisplay : IProgress<MigrationProgress>, IDisposable;

internal static class MigrationDisplay
{
    /// <summary>A live line on a terminal, else one line a phase.</summary>
    internal static IMigrationDisplay ForThisTerminal() => Console.IsErrorRedirected ? new PhaseLines(Console.Error) : new LiveLine();

    internal static string Describe(PreCopyProgress round) => FormattableString.Invariant(
        $"round {round.Round}: {Quantity.Bytes(PageSize.ToBytes(round.Pages))} to copy at {Quantity.Bytes((ulong)round.BytesPerSecond)}/s, {Quantity.Bytes((ulong)round.DirtyBytesPerSecond)}/s written anew")
        + (round.BytesPerSecond > 0 ? FormattableString.Invariant($", about {round.Estimate.TotalSeconds:F1} s") : "");

    internal static string Describe(MigrationPhase phase) => phase switch
    {
        MigrationPhase.Preparing => "checking both hosts",
        MigrationPhase.PreCopying => "copying memory while it runs",
        MigrationPhase.Dumping => "freezing and dumping",
        MigrationPhase.SendingImages => "sending images",
        MigrationPhase.Restoring => "restoring",
        MigrationPhase.Copying => "copying memory",
        MigrationPhase.Draining => "runs on the destination, memory follows",
        MigrationPhase.Discarding => "removing the source's copy",
        MigrationPhase.Done => "done",
        MigrationPhase.RollingBack => "rolling back",
        MigrationPhase.Stalled => "stalled, trying to reach the destination",
        _ => phase.ToString(),
    };
}
