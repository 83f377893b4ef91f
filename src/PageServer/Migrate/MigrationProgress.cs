using PostCopy.PreCopy;

namespace PostCopy.Migrate;

/// <summary>One look at a running migration.</summary>
/// <param name="Phase">What is being done now.</param>
/// <param name="Elapsed">Time since the migration began.</param>
/// <param name="PagesTotal">Pages owed at the freeze; 0 until the dump is done.</param>
/// <param name="PagesRemaining">Pages that the destination still lacks, as it last said.</param>
/// <param name="Faults">Page faults that had to wait for the source.</param>
/// <param name="BytesOnWire">Bytes sent and received on all lanes so far.</param>
/// <param name="BytesPerSecond">Rate on the wire, both directions together, since the previous look.</param>
/// <param name="Trouble">What keeps it from going on, and since when; null while nothing does.</param>
/// <param name="Round">The round of copying before the freeze; null in other phases.</param>
public readonly record struct MigrationProgress(
    MigrationPhase Phase,
    TimeSpan Elapsed,
    ulong PagesTotal,
    ulong PagesRemaining,
    ulong Faults,
    ulong BytesOnWire,
    double BytesPerSecond,
    string? Trouble = null,
    PreCopyProgress? Round = null);
