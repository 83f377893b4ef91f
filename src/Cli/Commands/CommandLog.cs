using Microsoft.Extensions.Logging;

namespace PostCopy.Commands;

/// <summary>Log messages of the commands themselves, ids 3000 to 3099.</summary>
internal static partial class CommandLog
{
    [LoggerMessage(3000, LogLevel.Error, "{Reason}")]
    internal static partial void Failed(ILogger logger, string reason);

    [LoggerMessage(3001, LogLevel.Warning, "--auto-dedup has no effect: the images stay as they are")]
    internal static partial void KeepsImages(ILogger logger);

    [LoggerMessage(3002, LogLevel.Warning, "SIGUSR1 and SIGUSR2 say what becomes of a dump: there is none that is held frozen at this moment, or that is decided already")]
    internal static partial void NothingToDecide(ILogger logger);

    /// <summary>Of the options that are accepted because scripts have them.</summary>
    internal static void WarnOfWhatHasNoEffect(ILogger logger, CriuArguments arguments)
    {
        if (arguments.Has("auto-dedup"))
        {
            KeepsImages(logger);
        }
    }
}
