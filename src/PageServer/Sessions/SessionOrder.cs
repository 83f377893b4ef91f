using PostCopy.HandOff;

namespace PostCopy.Sessions;

/// <summary>What an operator may tell the agent to do with one of its sessions.</summary>
public enum SessionOrder
{
    /// <summary>Put away a session whose source does not come to hear how it ended.</summary>
    Forget,

    /// <summary>The source is lost: whoever touches a missing page gets SIGBUS.</summary>
    Poison,

    /// <summary>The source is lost: kill the container.</summary>
    Kill,
}

/// <summary>Orders lie in the session's directory until the agent finds them.</summary>
public static class SessionOrders
{
    /// <summary>True when a session of this name has its destination here.</summary>
    public static bool IsDestination(string stateDirectory, string session) => Directory.Exists(DirectoryOf(stateDirectory, session));

    /// <summary>Gives an order. Returns the one that holds: of two ways to lose pages the first is taken.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="order"/> is none of the three.</exception>
    public static SessionOrder Give(string stateDirectory, string session, SessionOrder order) => Enum.IsDefined(order)
        ? Enum.Parse<SessionOrder>(new WriteOnceRecord(PathOf(DirectoryOf(stateDirectory, session), order == SessionOrder.Forget)).Write(order.ToString()))
        : throw new ArgumentOutOfRangeException(nameof(order), order, null);

    /// <summary>What is to become of missing pages; null when nothing was said.</summary>
    internal static SessionOrder? FindLoss(string directory) =>
        new FileInfo(PathOf(directory, isForget: false)).LinkTarget switch
        {
            nameof(SessionOrder.Poison) => SessionOrder.Poison,
            nameof(SessionOrder.Kill) => SessionOrder.Kill,
            _ => null,
        };

    /// <summary>The order could not be carried out, and must not stand in the way of the next.</summary>
    internal static void TakeBackLoss(string directory) => File.Delete(PathOf(directory, isForget: false));

    /// <summary>Whether the session is to be put away.</summary>
    internal static bool IsForgotten(string directory) => new FileInfo(PathOf(directory, isForget: true)).LinkTarget is not null;

    private static string PathOf(string directory, bool isForget) => Path.Combine(directory, isForget ? "forget" : "loss");

    private static string DirectoryOf(string stateDirectory, string session) => Path.Combine(stateDirectory, Path.GetFileName(session) + "-destination");
}
