using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>What a container did while it was moved.</summary>
/// <param name="Name">For messages.</param>
/// <param name="Sweep">In which order it touches all of its memory right after the restore; null when it rests.</param>
/// <param name="Contents">What is in its memory.</param>
/// <param name="SweepWhenDrained">In which order it touches it when all of it has come.</param>
internal sealed record Scenario(string Name, string? Sweep, string Contents, string? SweepWhenDrained = null)
{
    public static readonly Scenario RandomSweep = new("random sweep", "random", "mixed");
    public static readonly Scenario SequentialSweep = new("sequential sweep", "sequential", "mixed");
    public static readonly Scenario Idle = new("idle", null, "mixed");
    public static readonly Scenario IdleThenSweep = new("idle", null, "mixed", "random");
    public static readonly Scenario StridedSweep = new("strided sweep", "strided", "mixed");
    public static readonly Scenario ZipfSweep = new("zipf 0.99", "zipf", "mixed");
    public static readonly Scenario FullRandomSweep = new("random sweep, every page written", "random", "full");
    public static readonly Scenario FullIdle = new("idle, every page written", null, "full");
    public static readonly Scenario MostlyZero = new("idle, mostly zero pages", null, "mostly-zero");
}

/// <summary>The steps of a move in milliseconds, by whoever moved it.</summary>
internal sealed record Steps(double DumpMs, double ImagesMs, double RestoreMs, double DrainMs, double OwnMs, double TransferMs = 0, long SentBytes = 0);

/// <summary>One container, moved once, and found to be right.</summary>
/// <param name="Sweep">What its program saw; null when it touched nothing.</param>
/// <param name="Steps">Where the time went.</param>
/// <param name="StandstillMs">The gap in the program's own log between the two hosts: what it and its users saw of the downtime.</param>
/// <param name="TotalMs">From the command to its end.</param>
/// <param name="WireBytes">Over the wire, in both directions, headers included.</param>
/// <param name="CpuSeconds">Of everything on both hosts.</param>
/// <param name="SourceMiB">Most resident memory of who served pages on the source.</param>
/// <param name="SourceDescriptors">Most open descriptors there.</param>
/// <param name="TargetMiB">The same on the destination.</param>
/// <param name="TargetDescriptors">The same on the destination.</param>
/// <param name="LargestMiB">Most resident memory of a process of postcopy, on either side.</param>
internal sealed record Move(
    WalkerSweep? Sweep,
    Steps Steps,
    double StandstillMs,
    double TotalMs,
    long WireBytes,
    double CpuSeconds,
    double SourceMiB,
    int SourceDescriptors,
    double TargetMiB,
    int TargetDescriptors,
    double LargestMiB);
