namespace PostCopy.Tests.TestBed;

/// <summary>The final report, as its readers know it.</summary>
internal sealed record MigrationReport(
    string Outcome,
    string Session,
    string Mode,
    double FreezeMs,
    double DumpMs,
    double ImagesMs,
    double RestoreMs,
    double DowntimeMs,
    double DowntimeErrorMs,
    double DrainMs,
    double TotalMs,
    ReportedPages Pages,
    ReportedPreCopy? PreCopy,
    ReportedFaults Faults,
    ReportedMemory Memory,
    long BytesOnWire,
    double RateMBps,
    string? Policy,
    string[] Errors);

internal sealed record ReportedPages(long Total, long Zero, long Pushed, long Faulted, long Staged, long Stale, long Resent, long Dropped);

internal sealed record ReportedMemory(long SourceBytes, long DestinationBytes);

internal sealed record ReportedPreCopy(ReportedRound[] Rounds, string Ended, string[] LeftOut, long BytesBefore, long BytesAfter, long FaultsServedLocally, long FaultsServedRemotely);

internal sealed record ReportedRound(long Pages, long Hot, double Ms);

internal sealed record ReportedFaults(long Count, double P50Us, double P99Us, double MaxUs);
