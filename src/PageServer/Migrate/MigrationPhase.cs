namespace PostCopy.Migrate;

/// <summary>The steps of a migration, in the order in which a successful one takes them.</summary>
public enum MigrationPhase
{
    /// <summary>Checks on both sides; the container runs.</summary>
    Preparing,

    /// <summary>Memory is copied while the container runs (<see cref="MigrationOptions.PreCopy"/> only).</summary>
    PreCopying,

    /// <summary>CRIU seizes the tasks and writes everything but their memory. Downtime begins.</summary>
    Dumping,

    /// <summary>The images travel.</summary>
    SendingImages,

    /// <summary>CRIU rebuilds the container on the destination.</summary>
    Restoring,

    /// <summary>All pages travel before the container may run (<see cref="MigrationMode.StopCopy"/> only).</summary>
    Copying,

    /// <summary>The container runs on the destination; missing pages follow.</summary>
    Draining,

    /// <summary>Everything has arrived; the frozen copy on the source is being removed.</summary>
    Discarding,

    /// <summary>The migration has moved the container.</summary>
    Done,

    /// <summary>Something failed before the hand-off; the source is being resumed.</summary>
    RollingBack,

    /// <summary>The right to run is with the destination, but it cannot be reached; the source's copy stays frozen.</summary>
    Stalled,
}
