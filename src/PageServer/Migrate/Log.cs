using Microsoft.Extensions.Logging;
using PostCopy.HandOff;

namespace PostCopy.Migrate;

internal static partial class Log
{
    [LoggerMessage(1100, LogLevel.Debug, "session {Session}: {From} + {Input} -> {To}, {Actions}")]
    internal static partial void Advanced(ILogger logger, string session, SourceState from, SourceInput input, SourceState to, SourceActions actions);

    [LoggerMessage(1101, LogLevel.Debug, "session {Session}: connected anew, epoch {Epoch}, {Pages} pages are owed")]
    internal static partial void Reconnected(ILogger logger, string session, uint epoch, ulong pages);

    [LoggerMessage(1102, LogLevel.Debug, "session {Session}: no connection of epoch {Epoch}: {Reason}")]
    internal static partial void NotReconnected(ILogger logger, string session, uint epoch, string reason);

    [LoggerMessage(1103, LogLevel.Warning, "session {Session}: postcopy status shows old news: {Reason}")]
    internal static partial void NoStatus(ILogger logger, string session, string reason);
}
