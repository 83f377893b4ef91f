using Microsoft.Extensions.Logging;

namespace PostCopy.CriuServe;

/// <summary>Log messages of the page server for CRIU's clients, ids 1200 to 1299.</summary>
internal static partial class CriuServeLog
{
    [LoggerMessage(1200, LogLevel.Information, "listening on {Endpoint}: {Pages} pages of {Processes} processes, from {Source}")]
    internal static partial void Listening(ILogger logger, string endpoint, ulong pages, int processes, string source);

    [LoggerMessage(1207, LogLevel.Information, "serving the client on descriptor {Descriptor}: {Pages} pages of {Processes} processes, from {Source}")]
    internal static partial void ServingDescriptor(ILogger logger, int descriptor, ulong pages, int processes, string source);

    [LoggerMessage(1201, LogLevel.Information, "{Client} fetches pages")]
    internal static partial void Connected(ILogger logger, string client);

    [LoggerMessage(1202, LogLevel.Information, "{Client} has fetched every page and closed")]
    internal static partial void FetchedAll(ILogger logger, string client);

    [LoggerMessage(1203, LogLevel.Information, "{Client} closed; {Pages} pages it did not fetch were dropped by its tasks")]
    internal static partial void Complete(ILogger logger, string client, ulong pages);

    [LoggerMessage(1204, LogLevel.Warning, "{Client} closed, but {Pages} pages were never fetched: its restore may have failed (criu lazy-pages closes either way)")]
    internal static partial void FetchedPartly(ILogger logger, string client, ulong pages);

    [LoggerMessage(1205, LogLevel.Warning, "{Client} went away: {Reason}; {Pages} pages were never fetched")]
    internal static partial void Gone(ILogger logger, string client, string reason, ulong pages);

    [LoggerMessage(1206, LogLevel.Warning, "{Client} was turned away: {Reason}")]
    internal static partial void TurnedAway(ILogger logger, string client, string reason);

    [LoggerMessage(1210, LogLevel.Information, "{What} is dumped and frozen; its images are in {Directory}. Should this process be killed once pages were asked for, go on with --resume {Session}")]
    internal static partial void Frozen(ILogger logger, string what, string directory, string session);

    [LoggerMessage(1211, LogLevel.Information, "{What} has moved: its frozen copy here is gone")]
    internal static partial void Discarded(ILogger logger, string what);

    [LoggerMessage(
        1212,
        LogLevel.Critical,
        "{Pages} pages of {What} were never fetched, so it is not known whether it runs at the destination. The copy here stays frozen, and clients may still connect. Decide: if it runs there, kill -USR1 {Pid} discards the copy here; if it does not, kill -USR2 {Pid} lets the copy here run on")]
    internal static partial void Undecided(ILogger logger, ulong pages, string what, int pid);

    [LoggerMessage(1213, LogLevel.Information, "{What} runs on here")]
    internal static partial void Resumed(ILogger logger, string what);

    [LoggerMessage(1214, LogLevel.Critical, "{Problem}")]
    internal static partial void Problem(ILogger logger, string problem);
}
