using PostCopy.Migrate;

namespace PostCopy;

/// <summary>What the exit code says: where the container is.</summary>
internal static class ExitCodes
{
    internal const int Moved = 0;

    /// <summary>Of any command: it could not do its work, and this says nothing about a container.</summary>
    internal const int Failed = 1;

    internal const int Usage = 2;
    internal const int CannotHere = 3;
    internal const int RolledBack = 10;
    internal const int HandedOff = 20;
    internal const int Lost = 30;

    internal static int For(MigrationOutcome outcome) => outcome switch
    {
        MigrationOutcome.Moved => Moved,
        MigrationOutcome.Refused => CannotHere,
        MigrationOutcome.RolledBack => RolledBack,
        MigrationOutcome.HandedOff => HandedOff,
        MigrationOutcome.Lost => Lost,
        _ => throw new ArgumentOutOfRangeException(nameof(outcome), outcome, null),
    };
}
