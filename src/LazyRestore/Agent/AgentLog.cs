using Microsoft.Extensions.Logging;
using PostCopy.HandOff;
using PostCopy.Sessions;

namespace PostCopy.Agent;

internal static partial class AgentLog
{
    [LoggerMessage(2000, LogLevel.Information, "listening on {Endpoint}")]
    internal static partial void Listening(ILogger logger, string endpoint);

    [LoggerMessage(2001, LogLevel.Information, "made a token in {Path}; copy the file to every source, mode 0600")]
    internal static partial void TokenCreated(ILogger logger, string path);

    [LoggerMessage(2002, LogLevel.Warning, "--insecure: connections are not encrypted. Whoever knows the token in {Path} starts processes as root here, and whoever reads the wire reads the containers' memory")]
    internal static partial void Insecure(ILogger logger, string path);

    [LoggerMessage(2003, LogLevel.Warning, "refused {Peer}: {Reason}")]
    internal static partial void Refused(ILogger logger, string peer, string reason);

    [LoggerMessage(2004, LogLevel.Information, "stopping; waiting for {Sessions} sessions to end")]
    internal static partial void Stopping(ILogger logger, int sessions);

    [LoggerMessage(2005, LogLevel.Information, "session {Session}: container {Container} arrives from {Peer}")]
    internal static partial void Arrives(ILogger logger, string session, string container, string peer);

    [LoggerMessage(2006, LogLevel.Information, "session {Session}: container {Container} runs here, {Pages} pages are owed")]
    internal static partial void Runs(ILogger logger, string session, string container, long pages);

    [LoggerMessage(2007, LogLevel.Information, "session {Session}: container {Container} is complete")]
    internal static partial void Complete(ILogger logger, string session, string container);

    [LoggerMessage(2008, LogLevel.Warning, "session {Session}: container {Container} was not taken: {Reason}")]
    internal static partial void NotTaken(ILogger logger, string session, string container, string reason);

    [LoggerMessage(2009, LogLevel.Error, "session {Session}: container {Container} is owed {Pages} pages and cannot get them now: {Reason}. Its tasks wait when they touch a missing page; nothing reads zeroes")]
    internal static partial void Stalled(ILogger logger, string session, string container, long pages, string reason);

    [LoggerMessage(2010, LogLevel.Debug, "session {Session}: {From} + {Input} -> {To}, {Actions}")]
    internal static partial void Advanced(ILogger logger, string session, DestinationState from, DestinationInput input, DestinationState to, DestinationActions actions);

    [LoggerMessage(2014, LogLevel.Warning, "session {Session}: container {Container} is built and does not run; its source went away ({Reason}). Waiting {Seconds} s for it to come back")]
    internal static partial void LostAtTheFence(ILogger logger, string session, string container, double seconds, string reason);

    [LoggerMessage(2015, LogLevel.Warning, "session {Session}: container {Container} is complete, but its source does not know yet: {Reason}")]
    internal static partial void Unconfirmed(ILogger logger, string session, string container, string reason);

    [LoggerMessage(2016, LogLevel.Information, "session {Session}: the source of container {Container} is back ({Peer}); {Pages} pages are owed")]
    internal static partial void Reconnected(ILogger logger, string session, string container, long pages, string peer);

    [LoggerMessage(2017, LogLevel.Information, "session {Session}: container {Container} is taken over from an agent that died; state {State}")]
    internal static partial void TookOver(ILogger logger, string session, string container, DestinationState state);

    [LoggerMessage(2018, LogLevel.Error, "what a dead agent left in {Directory} cannot be taken over: {Reason}")]
    internal static partial void CannotTakeOver(ILogger logger, string directory, string reason);

    [LoggerMessage(2019, LogLevel.Critical, "session {Session}: container {Container} is frozen: a child that process {Process} forked when the agent died reads zeroes where pages are missing. Only a human can say what becomes of it")]
    internal static partial void LostChild(ILogger logger, string session, string container, string process);

    [LoggerMessage(2020, LogLevel.Critical, "session {Session}: the source of container {Container} is lost, and with it pages: {Whose}; {Consequence}")]
    internal static partial void PagesLost(ILogger logger, string session, string container, string whose, string consequence);

    [LoggerMessage(2011, LogLevel.Error, "session {Session}: unexpected failure")]
    internal static partial void Unexpected(ILogger logger, Exception exception, string session);

    [LoggerMessage(2012, LogLevel.Warning, "cannot accept a connection: {Reason}; trying again")]
    internal static partial void AcceptFailed(ILogger logger, string reason);

    [LoggerMessage(2013, LogLevel.Warning, "session {Session}: its keeper had died before it was needed no more: {Reason}")]
    internal static partial void KeeperDied(ILogger logger, string session, string reason);

    [LoggerMessage(2027, LogLevel.Warning, "session {Session}: its keeper has died, another one holds its {Count} userfaultfds now")]
    internal static partial void KeeperReplaced(ILogger logger, string session, int count);

    [LoggerMessage(2028, LogLevel.Critical, "session {Session}: its keeper has died, and there is no other ({Reason}): should this agent die while pages are owed, they would read as zeroes")]
    internal static partial void NoKeeper(ILogger logger, string session, string reason);

    [LoggerMessage(2023, LogLevel.Warning, "session {Session}: something is left behind: {Reason}")]
    internal static partial void LeftBehind(ILogger logger, string session, string reason);

    [LoggerMessage(2025, LogLevel.Information, "the certificate was renewed; this host is {Names}")]
    internal static partial void Renewed(ILogger logger, string names);

    [LoggerMessage(2026, LogLevel.Warning, "the certificate's files have changed and do not do: {Reason}. What was there before stays in force")]
    internal static partial void NotRenewed(ILogger logger, string reason);

    [LoggerMessage(2029, LogLevel.Information, "the token in {Path} was changed: from now on sources need the new one")]
    internal static partial void TokenRenewed(ILogger logger, string path);

    [LoggerMessage(2030, LogLevel.Warning, "the token's file has changed and does not do: {Reason}. The token that was there before stays in force")]
    internal static partial void TokenNotRenewed(ILogger logger, string reason);

    [LoggerMessage(2031, LogLevel.Error, "session {Session}: something failed, and the session goes on with container {Container}")]
    internal static partial void WentOn(ILogger logger, Exception exception, string session, string container);

    [LoggerMessage(2032, LogLevel.Warning, "session {Session}: whether the restore of container {Container} came to its end cannot be said yet: {Reason}; asking again")]
    internal static partial void CannotAskRunc(ILogger logger, string session, string container, string reason);

    [LoggerMessage(2033, LogLevel.Warning, "session {Session}: the order to {Order} is dropped, and has to be given again if need be: the source is connected")]
    internal static partial void OrderDropped(ILogger logger, string session, SessionOrder order);

    [LoggerMessage(2024, LogLevel.Warning, "session {Session}: postcopy status shows old news: {Reason}")]
    internal static partial void NoStatus(ILogger logger, string session, string reason);

    [LoggerMessage(2021, LogLevel.Information, "connections are encrypted; this host is {Names}, accepted are {Allowed}")]
    internal static partial void Encrypted(ILogger logger, string names, string allowed);

    [LoggerMessage(2022, LogLevel.Warning, "refused {Count} more, too many to name")]
    internal static partial void RefusedMore(ILogger logger, int count);

    [LoggerMessage(2050, LogLevel.Information, "session {Session}: {Joined} of {Possible} MiB of container {Container} that fill huge pages are in huge pages")]
    internal static partial void Collapsed(ILogger logger, string session, ulong joined, ulong possible, string container);

    [LoggerMessage(2052, LogLevel.Critical, "session {Session}: missing pages of container {Container} could not be poisoned, and whoever touches one of them waits: {Missing}; to end that: {Command}")]
    internal static partial void NotPoisoned(ILogger logger, string session, string container, string missing, string command);
}
