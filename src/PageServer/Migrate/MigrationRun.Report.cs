using System.Net.Sockets;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Migrate;

/// <summary>What the user is told in the end.</summary>
internal sealed partial class MigrationRun
{
    private static string Explain(Exception e) => e switch
    {
        OperationCanceledException => "cancelled before the hand-off",
        IOException or SocketException or UnauthorizedAccessException => e.Message,
        _ => $"{e.GetType().Name}: {e.Message}",
    };

    private MigrationReport Report(MigrationOutcome outcome)
    {
        _times.EndedUs = WallClock.NowUs;
        ServedPages served = Served();
        ulong total = _plan?.TotalPages ?? 0;
        double seizedUs = _times.SeizedUs == 0 ? _times.PreDumpUs : _times.SeizedUs;
        double transferMs = Timeline.Ms(_times.BuiltUs, _times.DrainedUs);
        return new MigrationReport
        {
            Outcome = outcome,
            Session = _session.Name,
            Mode = _options.Mode,
            FreezeMs = Timeline.Ms(_times.PreDumpUs, seizedUs),
            DumpMs = Timeline.Ms(seizedUs, _times.DumpedUs),
            ImagesMs = Timeline.Ms(_times.DumpedUs, _times.ImagesCompleteUs),
            RestoreMs = Timeline.Ms(_times.ImagesCompleteUs, _times.BuiltUs),
            DowntimeMs = Timeline.Ms(_times.PreDumpUs, _times.ResumedUs),
            DowntimeErrorMs = _times.ResumedUs == 0 ? 0 : double.IsFinite(_clock.ErrorUs) ? Math.Round(_clock.ErrorUs / 1000, 3) : null,
            DrainMs = Math.Max(0, Timeline.Ms(_times.ResumedUs, _times.DrainedUs)),
            TotalMs = Timeline.Ms(_times.BegunUs, _times.EndedUs),
            Pages = new PageCounts
            {
                Total = total,
                Zero = served.Zero,
                Pushed = served.Pushed,
                Faulted = served.Demanded,
                Staged = _stagedPages,
                Stale = _preCopy?.StalePages ?? 0,
                Resent = served.Resent,
                Dropped = _drained.DroppedPages,
            },
            PreCopy = PreCopyReport(),
            Faults = new FaultCounts { Count = _drained.Faults, P50Us = _drained.FaultP50Us, P99Us = _drained.FaultP99Us, MaxUs = _drained.FaultMaxUs },
            Memory = new MemoryAmounts { SourceBytes = _memory.Here, DestinationBytes = _memory.OnceMoved },
            BytesOnWire = BytesOnWire,
            RateMBps = transferMs == 0 ? 0 : Math.Round(PageSize.ToBytes(total) / 1e3 / transferMs, 1),
            Policy = _options.Policy,
            Errors = [.. _errors],
        };
    }
}
