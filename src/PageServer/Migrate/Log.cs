using Microsoft.Extensions.Logging;
using PostCopy.HandOff;

namespace PostCopy.Migrate;

internal static partial class Log
{
    [LoggerMessage(1100, LogLevel.Debug, "session {Session}: {From} + {Input} -> {To}, {Actions}")]
    internal static partial void Advanced(ILogger logger, string session, SourceState from, SourceInput input, SourceState to, SourceActions actions);
}
