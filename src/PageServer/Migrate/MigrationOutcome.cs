namespace PostCopy.Migrate;

/// <summary>Where the container is when a migration has ended.</summary>
public enum MigrationOutcome
{
    /// <summary>It runs on the destination with all of its memory; nothing is left on the source.</summary>
    Moved,

    /// <summary>It was never touched: this host, or this pair of hosts, cannot do it. It runs on the source.</summary>
    Refused,

    /// <summary>Something failed, or the user cancelled, before the hand-off. It runs on the source as before.</summary>
    RolledBack,

    /// <summary>It was handed off, but pages are still owed. The source's frozen copy is kept; tasks that touch a missing page wait.</summary>
    HandedOff,

    /// <summary>A frozen process died. Pages that the destination still lacked are gone, or, before the hand-off, the container runs nowhere any more: the errors say which.</summary>
    Lost,
}
