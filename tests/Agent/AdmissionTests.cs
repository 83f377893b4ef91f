using PostCopy.Control.Messages;
using PostCopy.Tests.TestBed;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Wire;
using PostCopy.Wire;

namespace PostCopy.Tests.Agent;

/// <summary>Who gets in: a real agent, and sources that should not.</summary>
public sealed class AdmissionTests
{
    [SkippableFact]
    public async Task Another_token_is_refused()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        Assert.Equal(WireErrorCode.Unauthorized, agent.Refused(LaneRole.Control, SessionToken.Create(), Tokens.Another).Code);
        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task A_page_lane_needs_a_session()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        foreach (LaneRole role in (LaneRole[])[LaneRole.Demand, LaneRole.Push])
        {
            Assert.Equal((WireErrorCode.Session, "there is no such session here"), agent.Refused(role, SessionToken.Create()));
        }

        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task A_session_has_each_lane_once_and_none_of_another_session()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        SessionToken first = SessionToken.Create();
        SessionToken second = SessionToken.Create();
        using Peer control = agent.Open(LaneRole.Control, first);
        using Peer demand = agent.Open(LaneRole.Demand, first);
        using Peer push = agent.Open(LaneRole.Push, first);
        using Peer otherControl = agent.Open(LaneRole.Control, second);
        Assert.Equal((WireErrorCode.Taken, "the session has a connection of epoch 1 already"), agent.Refused(LaneRole.Control, first));
        Assert.Equal((WireErrorCode.Taken, "the session has a Demand lane already"), agent.Refused(LaneRole.Demand, first));
        Assert.Equal((WireErrorCode.Taken, "the session has a Push lane already"), agent.Refused(LaneRole.Push, first));
        using Peer otherDemand = agent.Open(LaneRole.Demand, second);

        // The intruders changed nothing for those who were there.
        control.Send(RunningAgent.Frame(FrameKind.Prepare, agent.Container));
        Assert.Empty(Prepared.Parser.ParseFrom(control.Expect(FrameKind.Prepared)).Refusals);
        control.Dispose();
        demand.ExpectEnd();
        push.ExpectEnd();
        otherControl.Dispose();
        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task There_are_as_many_sessions_as_the_agent_accepts()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync(static options => options.MaxSessions = 2);
        using Peer first = agent.Open(LaneRole.Control, SessionToken.Create());
        using Peer second = agent.Open(LaneRole.Control, SessionToken.Create());
        Assert.Equal((WireErrorCode.Busy, "this agent has 2 sessions already, as many as it accepts"), agent.Refused(LaneRole.Control, SessionToken.Create()));
        first.Send(Samples.Frame(FrameKind.Goodbye));
        first.ExpectEnd();
        await Condition.WaitAsync(() => IsLetIn(agent), Peer.Patience, "the place of the session that ended is free");
        second.Dispose();
        await Condition.WaitAsync(() => IsLetIn(agent), Peer.Patience, "both places are free");
    }

    [SkippableFact]
    public async Task More_connections_than_may_open_at_once_do_not_keep_others_out_for_ever()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        Peer[] idle = [.. Enumerable.Range(0, 80).Select(_ => Peer.Connect(agent.EndPoint))];
        Array.ForEach(idle, static peer => peer.Dispose());
        await Condition.WaitAsync(() => IsLetIn(agent), Peer.Patience, "the agent accepts again");
        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task A_crowd_that_stalls_keeps_nobody_out()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        Peer[] idle = [.. Enumerable.Range(0, 1000).Select(_ => Peer.Connect(agent.EndPoint))];
        try
        {
            // Some say half of what they have to say.
            foreach (Peer peer in idle.Where(static (_, i) => i % 4 == 0))
            {
                peer.TrySend(Samples.Header((ushort)FrameKind.Hello, LaneHello.Bytes));
            }

            await agent.AssertServesTheNextAsync();
            Assert.InRange(Directory.GetDirectories("/proc/self/task").Length, 1, 500);
        }
        finally
        {
            Array.ForEach(idle, static peer => peer.Dispose());
        }
    }

    [SkippableFact]
    public async Task Noise_on_the_port_is_refused()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        foreach (byte[] noise in (byte[][])["GET / HTTP/1.1\r\n\r\n"u8.ToArray(), Samples.Header((ushort)FrameKind.Pages, 1 << 20), new byte[16]])
        {
            using Peer peer = Peer.Connect(agent.EndPoint);
            peer.Expect(FrameKind.Welcome);
            peer.Send(noise);
            Assert.NotEmpty(peer.ExpectRefusal().Text);
        }

        await agent.AssertServesTheNextAsync();
    }

    private static bool IsLetIn(RunningAgent agent)
    {
        using Peer peer = Peer.Connect(agent.EndPoint);
        if (peer.Receive() is not { Kind: FrameKind.Welcome } welcome)
        {
            return false;
        }

        peer.Send(Peer.Hello(agent.Token, Welcome.Parse(welcome.Payload), LaneRole.Control, SessionToken.Create()));
        return peer.Receive() is { Kind: FrameKind.HelloAck };
    }
}
