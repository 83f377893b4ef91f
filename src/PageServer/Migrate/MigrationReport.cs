namespace PostCopy.Migrate;

/// <summary>How a migration went. Serialised, it is the JSON object that <c>postcopy migrate --json</c> prints; times are milliseconds of wall clock.</summary>
public sealed record MigrationReport
{
    /// <summary>Where the container is now.</summary>
    public required MigrationOutcome Outcome { get; init; }

    /// <summary>The session's id, as in the state directory's name on both hosts.</summary>
    public required string Session { get; init; }

    /// <summary>When the memory travelled.</summary>
    public required MigrationMode Mode { get; init; }

    /// <summary>From CRIU's <c>pre-dump</c> until all tasks were held and the images were complete, less <see cref="DumpMs"/>: seizing the tasks.</summary>
    public double FreezeMs { get; init; }

    /// <summary>From the first task seized until the images were complete.</summary>
    public double DumpMs { get; init; }

    /// <summary>Moving the images to the destination.</summary>
    public double ImagesMs { get; init; }

    /// <summary>From the images' arrival until CRIU had rebuilt the container (<c>post-restore</c>).</summary>
    public double RestoreMs { get; init; }

    /// <summary>From <c>pre-dump</c> on the source to <c>post-resume</c> on the destination: how long the container stood still.</summary>
    public double DowntimeMs { get; init; }

    /// <summary>How far <see cref="DowntimeMs"/> may be off, because two clocks measured it (half of the smallest round trip seen).</summary>
    /// <remarks>Null when the clocks were never compared.</remarks>
    public double? DowntimeErrorMs { get; init; }

    /// <summary>From the container's first instruction on the destination until its last page had arrived.</summary>
    public double DrainMs { get; init; }

    /// <summary>The whole migration.</summary>
    public double TotalMs { get; init; }

    /// <summary>What became of the pages.</summary>
    public PageCounts Pages { get; init; } = new();

    /// <summary>What was copied before the freeze; null when nothing was to be.</summary>
    public PreCopyReport? PreCopy { get; init; }

    /// <summary>Page faults that had to wait for the source.</summary>
    public FaultCounts Faults { get; init; } = new();

    /// <summary>How much memory it held before, and was expected to hold afterwards.</summary>
    public MemoryAmounts Memory { get; init; } = new();

    /// <summary>Bytes sent and received on all lanes.</summary>
    public ulong BytesOnWire { get; init; }

    /// <summary>Memory moved over the time of the transfer, in 10^6 bytes a second.</summary>
    public double RateMBps { get; init; }

    /// <summary>The prefetch policy in force.</summary>
    public PrefetchPolicy Policy { get; init; }

    /// <summary>What went wrong, in the order in which it happened; empty when all went well.</summary>
    public IReadOnlyList<string> Errors { get; init; } = [];
}

/// <summary>What became of the pages of a migration.</summary>
public sealed record PageCounts
{
    /// <summary>Pages whose content the source owed at the freeze.</summary>
    public ulong Total { get; init; }

    /// <summary>Of these, pages full of zeroes: they travelled as a bit.</summary>
    public ulong Zero { get; init; }

    /// <summary>Pages sent by the background push.</summary>
    public ulong Pushed { get; init; }

    /// <summary>Pages sent because the program touched them first.</summary>
    public ulong Faulted { get; init; }

    /// <summary>Pages copied before the freeze and still valid after it.</summary>
    public ulong Staged { get; init; }

    /// <summary>Pages copied before the freeze and written since.</summary>
    public ulong Stale { get; init; }

    /// <summary>Pages demanded while their push was under way, and therefore sent twice.</summary>
    public ulong Resent { get; init; }

    /// <summary>Pages the program discarded on the destination before they were needed.</summary>
    public ulong Dropped { get; init; }
}

/// <summary>How long page faults waited for the source, as the destination's fault thread measured it.</summary>
public sealed record FaultCounts
{
    /// <summary>Number of faults.</summary>
    public ulong Count { get; init; }

    /// <summary>Half of them waited no longer than this, in microseconds.</summary>
    public double P50Us { get; init; }

    /// <summary>99 of 100 waited no longer than this, in microseconds.</summary>
    public double P99Us { get; init; }

    /// <summary>The longest wait, in microseconds.</summary>
    public double MaxUs { get; init; }
}

/// <summary>Memory of a container or a process tree, its files' cache left out. Both are 0 when they are not known.</summary>
public sealed record MemoryAmounts
{
    /// <summary>On the source, before the freeze; pages that processes share count once.</summary>
    public ulong SourceBytes { get; init; }

    /// <summary>Predicted for the destination, where pages that processes shared after a fork are each one's own.</summary>
    public ulong DestinationBytes { get; init; }
}
