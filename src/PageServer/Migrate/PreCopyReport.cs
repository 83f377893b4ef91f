namespace PostCopy.Migrate;

/// <summary>What copying before the freeze did.</summary>
public sealed record PreCopyReport
{
    /// <summary>What each round copied.</summary>
    public IReadOnlyList<PreCopyRound> Rounds { get; init; } = [];

    /// <summary>Why it ended: <c>little-left</c>, <c>only-hot-left</c>, <c>no-progress</c>, <c>max-rounds</c>, <c>max-time</c>, <c>staging-full</c>, <c>not-possible</c>, or <c>broken-off</c>: cancelled, or something failed.</summary>
    public string Ended { get; init; } = "";

    /// <summary>Processes whose memory could not be copied before the freeze, and why.</summary>
    public IReadOnlyList<string> LeftOut { get; init; } = [];

    /// <summary>Bytes sent and received before the freeze.</summary>
    public ulong BytesBefore { get; init; }

    /// <summary>Bytes sent and received since.</summary>
    public ulong BytesAfter { get; init; }

    /// <summary>Page faults behind the freeze that were served from what was copied before it.</summary>
    public ulong FaultsServedLocally { get; init; }

    /// <summary>Page faults behind the freeze that had to wait for the source.</summary>
    public ulong FaultsServedRemotely { get; init; }
}

/// <summary>One round of copying.</summary>
public sealed record PreCopyRound
{
    /// <summary>Pages it copied: in the first round all, in the others those written since; fewer when it was broken off.</summary>
    public ulong Pages { get; init; }

    /// <summary>Pages it left for after the freeze because they were written in round after round.</summary>
    public ulong Hot { get; init; }

    /// <summary>How long it took, in milliseconds.</summary>
    public double Ms { get; init; }
}
