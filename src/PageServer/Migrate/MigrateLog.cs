using Microsoft.Extensions.Logging;
using PostCopy.HandOff;
using PostCopy.Memory;

namespace PostCopy.Migrate;

internal static partial class MigrateLog
{
    [LoggerMessage(1100, LogLevel.Debug, "session {Session}: {From} + {Input} -> {To}, {Actions}")]
    internal static partial void Advanced(ILogger logger, string session, SourceState from, SourceInput input, SourceState to, SourceActions actions);

    [LoggerMessage(1101, LogLevel.Debug, "session {Session}: connected anew, epoch {Epoch}, {Pages} pages are owed")]
    internal static partial void Reconnected(ILogger logger, string session, uint epoch, ulong pages);

    [LoggerMessage(1102, LogLevel.Debug, "session {Session}: no connection of epoch {Epoch}: {Reason}")]
    internal static partial void NotReconnected(ILogger logger, string session, uint epoch, string reason);

    [LoggerMessage(1103, LogLevel.Warning, "session {Session}: postcopy status shows old news: {Reason}")]
    internal static partial void NoStatus(ILogger logger, string session, string reason);

    [LoggerMessage(1104, LogLevel.Warning, "session {Session}: CRIU could not stop every task of {Subject} within {Seconds} s and let it go; trying again")]
    internal static partial void CannotStopTasks(ILogger logger, string session, string subject, double seconds);

    [LoggerMessage(1105, LogLevel.Warning, "session {Session}: {Subject} holds {Here} MiB here and will hold {There} MiB there: pages that its processes share (by fork, or KSM) are each one's own once moved")]
    internal static partial void MemoryGrows(ILogger logger, string session, string subject, ulong here, ulong there);

    [LoggerMessage(1106, LogLevel.Warning, "session {Session}: CRIU wrote {MiB} MiB of {Subject} to its images while everything stood still, because a thread's stack pointer was at the start of a page; they are lazy all the same")]
    internal static partial void WasKeptBack(ILogger logger, string session, ulong miB, string subject);

    [LoggerMessage(1107, LogLevel.Warning, "session {Session}: too late to cancel: the container was handed off. It is served until it has its last page, or until its destination cannot be reached")]
    internal static partial void TooLateToCancel(ILogger logger, string session);

    [LoggerMessage(1108, LogLevel.Warning, "session {Session}: progress is shown no more: {Reason}")]
    internal static partial void NoProgress(ILogger logger, string session, string reason);

    [LoggerMessage(1109, LogLevel.Warning, "session {Session}: something of its directory is left: {Reason}")]
    internal static partial void LeftBehind(ILogger logger, string session, string reason);

    [LoggerMessage(1110, LogLevel.Debug, "session {Session}: epoch {Epoch} is not recorded: {Reason}")]
    internal static partial void EpochNotRecorded(ILogger logger, string session, uint epoch, string reason);

    [LoggerMessage(1111, LogLevel.Error, "session {Session}: page {Address:x} of process {Pid} (pid {Here} here) cannot be read although the process lives; it stays owed, and the drain does not end while somebody may need it")]
    internal static partial void Unreadable(ILogger logger, string session, ulong address, ImagePid pid, int here);
}
