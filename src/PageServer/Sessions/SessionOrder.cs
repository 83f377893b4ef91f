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
