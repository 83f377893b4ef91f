using Microsoft.Extensions.Logging;

namespace PostCopy.LazyPages;

/// <summary>Log messages of the lazy-pages daemon, ids 2200 to 2299.</summary>
internal static partial class LazyPagesLog
{
    [LoggerMessage(2200, LogLevel.Information, "waiting for criu restore at {Socket}; {Pages} pages of {Processes} processes are owed, from {Source}")]
    internal static partial void Listening(ILogger logger, string socket, ulong pages, int processes, string source);

    [LoggerMessage(2201, LogLevel.Information, "restore is connected; its faults are being served")]
    internal static partial void Connected(ILogger logger);

    [LoggerMessage(2202, LogLevel.Information, "restore is finished, the tasks run; {Pages} pages are still owed")]
    internal static partial void Restored(ILogger logger, long pages);

    [LoggerMessage(
        2203,
        LogLevel.Information,
        "all pages are in: {Faulted} by {Faults} faults, {Bulk} in bulk, {Dropped} dropped by the tasks themselves; a fault took {P50:F0} us in the middle, {P99:F0} us at the 99th percentile")]
    internal static partial void Drained(ILogger logger, long faulted, long faults, long bulk, long dropped, double p50, double p99);

    [LoggerMessage(2204, LogLevel.Error, "the restore was not finished: {Reason}")]
    internal static partial void NotRestored(ILogger logger, string reason);

    [LoggerMessage(
        2205,
        LogLevel.Critical,
        "{Pages} pages cannot be delivered any more ({Reason}). Tasks that touch one of them wait, they never read zeroes. A dump's page server was told of the failure by a reset, so the source runs on there: kill the copy here.")]
    internal static partial void Lost(ILogger logger, long pages, string reason);

    [LoggerMessage(2206, LogLevel.Warning, "every page is in place, but the page server did not confirm the end: {Reason}. Look whether the tasks on the source are gone")]
    internal static partial void CloseNotHeard(ILogger logger, string reason);
}
