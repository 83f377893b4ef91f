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
    private const string RecordName = "order";

    /// <summary>True when a session of this name has its destination here.</summary>
    public static bool IsDestination(string stateDirectory, string session) => Directory.Exists(DirectoryOf(stateDirectory, session));

    /// <summary>Gives an order. Returns the one that holds: only the first does.</summary>
    public static SessionOrder Give(string stateDirectory, string session, SessionOrder order) =>
        Enum.Parse<SessionOrder>(new WriteOnceRecord(Path.Combine(DirectoryOf(stateDirectory, session), RecordName)).Write(order.ToString()));

    /// <summary>The order that was given; null when none was.</summary>
    internal static SessionOrder? Find(string directory) =>
        new FileInfo(Path.Combine(directory, RecordName)).LinkTarget is { } word && Enum.TryParse(word, out SessionOrder order) ? order : null;

    private static string DirectoryOf(string stateDirectory, string session) => Path.Combine(stateDirectory, Path.GetFileName(session) + "-destination");
}
