using PostCopy.Migrate;

namespace PostCopy.Display;

/// <summary>Shows a migration while it runs, on standard error.</summary>
internal interface IMigrationDisplay : IProgress<MigrationProgress>, IDisposable;

internal static class MigrationDisplay
{
    /// <summary>A live line on a terminal, else one line a phase.</summary>
    internal static IMigrationDisplay ForThisTerminal() => Console.IsErrorRedirected ? new PhaseLines(Console.Error) : new LiveLine();

    internal static string Describe(MigrationPhase phase) => phase switch
    {
        MigrationPhase.Preparing => "checking both hosts",
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
