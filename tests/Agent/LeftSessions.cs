using Google.Protobuf;
using PostCopy.Agent;
using PostCopy.Criu;
using PostCopy.Wire;

namespace PostCopy.Tests.Agent;

/// <summary>What an agent leaves that dies: a session's directory, with the records that it had come to.</summary>
internal static class LeftSessions
{
    /// <summary>Makes a session's directory. Returns its path.</summary>
    public static string Leave(RunningAgent agent, SessionToken session, string? decision, bool asked = true, bool drained = false)
    {
        using CriuSession left = CriuSession.Create(agent.StateDirectory, session.Name + "-destination", tcpEstablished: false, "");
        new DestinationRecord { Token = session.ToHex(), Prepare = agent.Container.ToByteArray(), Peer = "its source" }.Save(left.Directory);
        if (asked)
        {
            left.Hook.Asked.Write("asked");
        }

        if (decision is not null)
        {
            left.Hook.Decision.Write(decision);
        }

        if (drained)
        {
            File.WriteAllText(Path.Combine(left.Directory, "ran"), "");
            left.Hook.Drained.Write("complete");
        }

        return left.Directory;
    }
}
