using Microsoft.Extensions.Logging;

namespace PostCopy.Commands;

/// <summary>Log messages of the commands themselves, ids 3000 to 3099.</summary>
internal static partial class CommandLog
{
    [LoggerMessage(3000, LogLevel.Error, "{Reason}")]
    internal static partial void Failed(ILogger logger, string reason);
}
