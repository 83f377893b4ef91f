using PostCopy.Sessions;
using PostCopy.Tests.TestBed;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Wire;
using PostCopy.Wire;

namespace PostCopy.Tests.Agent;

/// <summary>Sessions whose agent is dead, or does not work on them: what another agent makes of them, and what it says to their sources.</summary>
public sealed class LeftSessionTests
{
    [SkippableTheory]
    [InlineData("never-ran", false)]
    [InlineData("may-run", true)]
    public async Task Asked_to_stop_an_agent_leaves_its_last_words_to_the_next(string decision, bool drained)
    {
        FrameKind word = drained ? FrameKind.Drained : FrameKind.NeverRan;
        SessionToken session = SessionToken.Create();
        await using RunningAgent agent = await RunningAgent.StartAsync(prepare: agent => LeftSessions.Leave(agent, session, decision, drained: drained));
        using (Peer heard = Reconnect(agent, session, epoch: 2))
        {
            heard.Expect(word);
        }

        string directory = Path.Combine(agent.StateDirectory, session.Name + "-destination");
        await Condition.WaitAsync(() => SessionList.Read(agent.StateDirectory).Single().WaitsFor.Contains("to hear", StringComparison.Ordinal), Peer.Patience, "the agent to notice that the source is gone");
        await agent.StopAsync();
        Assert.True(Directory.Exists(directory), "the session's directory was removed, and nobody can tell its source any more");
        await agent.RestartAsync();
        using Peer again = Reconnect(agent, session, epoch: 3);
        again.Expect(word);
        again.Send(drained ? Samples.Frame(FrameKind.Discarded) : Samples.Frame(FrameKind.Goodbye));
        await Condition.WaitAsync(() => !Directory.Exists(directory), Peer.Patience, "the session to end");
    }

    [SkippableFact]
    public async Task A_session_that_no_agent_works_on_is_not_denied()
    {
        SessionToken session = SessionToken.Create();
        await using RunningAgent agent = await RunningAgent.StartAsync(prepare: agent => File.WriteAllText(Path.Combine(LeftSessions.Leave(agent, session, "never-ran"), "destination.json"), "{"));
        foreach (LaneRole role in (LaneRole[])[LaneRole.Control, LaneRole.Demand, LaneRole.Push])
        {
            using Peer peer = Dial(agent, session, epoch: 2, role);
            (WireErrorCode code, string text) = peer.ExpectRefusal();
            Assert.Equal(WireErrorCode.Internal, code);
            Assert.Contains("has files of that session", text, StringComparison.Ordinal);
        }

        using Peer unknown = Dial(agent, SessionToken.Create(), epoch: 2);
        Assert.Equal(WireErrorCode.Session, unknown.ExpectRefusal().Code);
    }

    [SkippableFact]
    public async Task A_session_that_another_process_works_on_is_taken_over_when_that_one_has_ended()
    {
        SessionToken session = SessionToken.Create();
        FileStream? held = null;
        await using RunningAgent agent = await RunningAgent.StartAsync(prepare: agent => held = SessionLock.Take(LeftSessions.Leave(agent, session, "never-ran")));
        Assert.NotNull(held);
        using (Peer early = Dial(agent, session, epoch: 2))
        {
            Assert.Equal(WireErrorCode.Internal, early.ExpectRefusal().Code);
        }

        held.Dispose();
        await Condition.WaitAsync(
            () =>
            {
                using Peer peer = Dial(agent, session, epoch: 3);
                return peer.Receive() is { Kind: FrameKind.HelloAck };
            },
            Peer.Patience,
            "the session to be taken over");
    }

    /// <summary>As a session is in its first moments: it has a lock, and no record yet.</summary>
    [SkippableFact]
    public async Task A_session_that_another_agent_is_beginning_is_left_alone()
    {
        SessionToken session = SessionToken.Create();
        FileStream? held = null;
        string directory = "";
        await using RunningAgent agent = await RunningAgent.StartAsync(prepare: agent =>
        {
            directory = LeftSessions.Leave(agent, session, null);
            File.Delete(Path.Combine(directory, "destination.json"));
            held = SessionLock.Take(directory);
        });
        Assert.True(Directory.Exists(directory));
        held!.Dispose();
        await Condition.WaitAsync(() => !Directory.Exists(directory), Peer.Patience, "what is left of it to be removed");
    }

    private static Peer Reconnect(RunningAgent agent, SessionToken session, uint epoch)
    {
        Peer peer = Dial(agent, session, epoch);
        peer.Expect(FrameKind.HelloAck);
        // Nothing, in one message.
        peer.Expect(FrameKind.Owed);
        return peer;
    }

    private static Peer Dial(RunningAgent agent, SessionToken session, uint epoch, LaneRole role = LaneRole.Control)
    {
        Peer peer = Peer.Connect(agent.EndPoint);
        peer.Send(Peer.Hello(agent.Token, Welcome.Parse(peer.Expect(FrameKind.Welcome)), role, session, hello => BitConverter.GetBytes(epoch).CopyTo(hello, 8)));
        return peer;
    }
}
