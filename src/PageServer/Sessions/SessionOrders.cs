using PostCopy.HandOff;

namespace PostCopy.Sessions;

/// <summary>
/// What an operator tells this host's agent about a session that has its destination here. An order lies in the session's directory until the agent finds it; one to
/// give up pages is dropped when their source turns out to be connected.
/// </summary>
public static class SessionOrders
{
    /// <summary>Gives an order. Returns the one that holds: of two ways to lose pages the first is taken.</summary>
    /// <param name="stateDirectory">Where sessions keep their state.</param>
    /// <param name="session">The session's name, as <c>postcopy status</c> shows it.</param>
    /// <param name="order">What to do. <see cref="SessionOrder.Forget"/> is for a session that is owed nothing, the others for one whose source is away.</param>
    /// <exception cref="SessionOrderException">
    /// There is no such session; its container was not handed off yet; it is to be forgotten while pages are owed; or pages are to be given up though none are owed, though no
    /// agent works on the session, or though their source is connected. Nothing was changed.
    /// </exception>
    /// <exception cref="IOException">The order cannot be written.</exception>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="order"/> is none of the three.</exception>
    public static SessionOrder Give(string stateDirectory, string session, SessionOrder order)
    {
        if (!Enum.IsDefined(order))
        {
            throw new ArgumentOutOfRangeException(nameof(order), order, null);
        }

        SessionStatus status = SessionList.Read(stateDirectory).FirstOrDefault(one => one.Session == session && one.Role == SessionRole.Destination)
            ?? throw new SessionOrderException($"there is no session {session} below {stateDirectory} whose destination is this host");
        bool isOwed = status.State is SessionState.MayRun or SessionState.Running;
        if (status.State is SessionState.Receiving or SessionState.Building or SessionState.Asking)
        {
            throw new SessionOrderException("the container has not been handed off: it is the source's to give the attempt up (Ctrl-C there)");
        }

        if (order == SessionOrder.Forget && isOwed)
        {
            throw new SessionOrderException($"the container is owed {status.PagesOwed} pages. Only if their source is lost for good: --source-is-dead poison|kill", isHandedOff: true);
        }

        if (order != SessionOrder.Forget)
        {
            RefuseUnlessSourceIsAway(status, isOwed, SuggestedCommand.In(stateDirectory));
        }

        string directory = Path.Combine(stateDirectory, session + SessionDirectory.DestinationSuffix);
        return Enum.Parse<SessionOrder>(new WriteOnceRecord(PathOf(directory, order == SessionOrder.Forget)).Write(order.ToString()));
    }

    /// <summary>The word of an operator is believed only if the source does not contradict it: pages that are given up are gone, and so is whoever needs them.</summary>
    private static void RefuseUnlessSourceIsAway(SessionStatus status, bool isOwed, string here)
    {
        if (!isOwed)
        {
            throw new SessionOrderException($"nothing is owed to {status.Container} any more, so nothing can be given up. To put the session away: postcopy abort {status.Session}{here}");
        }

        if (status.Pid == 0)
        {
            throw new SessionOrderException(
                $"no agent works on the session, so nobody knows whether its source is there. Start one with the same --state-dir, and give the order when postcopy status{here} shows that it waits for the source", isHandedOff: true);
        }

        if (status.WaitsFor is "" or SessionStatus.Memory)
        {
            throw new SessionOrderException(
                $"the source is not dead: it is connected and serves the {status.PagesOwed} pages that are still owed. One that dies is missed within half a minute; postcopy status{here} then shows that the session waits for it", isHandedOff: true);
        }
    }

    /// <summary>What is to become of missing pages; null when nothing was said.</summary>
    internal static SessionOrder? FindLoss(string directory) =>
        new FileInfo(PathOf(directory, isForget: false)).LinkTarget switch
        {
            nameof(SessionOrder.Poison) => SessionOrder.Poison,
            nameof(SessionOrder.Kill) => SessionOrder.Kill,
            _ => null,
        };

    /// <summary>Takes back what was said of missing pages.</summary>
    internal static void DropLoss(string directory) => File.Delete(PathOf(directory, isForget: false));

    /// <summary>Whether the session is to be put away.</summary>
    internal static bool IsForgotten(string directory) => new FileInfo(PathOf(directory, isForget: true)).LinkTarget is not null;

    private static string PathOf(string directory, bool isForget) => Path.Combine(directory, isForget ? "forget" : "loss");
}
