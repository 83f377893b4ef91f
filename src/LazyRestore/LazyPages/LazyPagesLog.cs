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

    /// <summary>What to do when there is a server. Nobody here can know which one, and whether it was reached.</summary>
    internal const string LostFromServer =
        "Look at the source before anything else, for the page server was told by a reset if the network let it through. A \"criu dump --lazy-pages\" that heard it lets its tasks run on, "
        + "so that both copies may run: kill the one here. One that did not hear it, behind a broken link, stays frozen; when it ends or is killed its tasks run on. "
        + "\"postcopy page-server --tree\" or \"--runc\" keeps them frozen and waits for your word: kill the copy here, then send it SIGUSR2. A server of images has no tasks: kill the copy here and restore it again";

    internal const string LostFromImages = "The images have not changed: kill the copy here and restore it again";

    internal const string EndedFromServer =
        "So the page server was not told of success, and was reset: a \"criu dump --lazy-pages\" lets its tasks run on from the moment of the dump (if the program had done its work here, end them), "
        + "\"postcopy page-server --tree\" or \"--runc\" keeps them frozen and waits for your word (SIGUSR1 discards them, SIGUSR2 lets them run on)";

    internal const string EndedFromImages = "The images have not changed: it can be restored again";

    [LoggerMessage(2205, LogLevel.Critical, "{Pages} pages cannot be delivered any more ({Reason}). Tasks that touch one of them wait, they never read zeroes. {Advice}")]
    internal static partial void Lost(ILogger logger, long pages, string reason, string advice);

    [LoggerMessage(
        2207,
        LogLevel.Error,
        "all tasks have ended, and {Pages} pages had not come by then. Whether they ended by themselves or were killed (by criu, if restore failed at the last moment; by the kernel, for want of memory; by somebody) cannot be told from here. {Advice}")]
    internal static partial void TasksEnded(ILogger logger, long pages, string advice);

    [LoggerMessage(2208, LogLevel.Warning, "the process that holds the userfaultfds (postcopy keeper) has died; another one holds {Count} of them now")]
    internal static partial void KeeperReplaced(ILogger logger, int count);

    [LoggerMessage(
        2209,
        LogLevel.Error,
        "no process can be started that holds the userfaultfds ({Reason}): until one can, tasks would read zeroes for missing pages should this process (lazy-pages) be killed; trying again")]
    internal static partial void NoKeeper(ILogger logger, string reason);

    [LoggerMessage(2210, LogLevel.Debug, "the keeper had died; it was not needed any more")]
    internal static partial void KeeperWasDead(ILogger logger);

    [LoggerMessage(2206, LogLevel.Warning, "every page is in place, but the page server did not confirm the end: {Reason}. Look whether the tasks on the source are gone")]
    internal static partial void CloseNotHeard(ILogger logger, string reason);
}
