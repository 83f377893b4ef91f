using PostCopy.Control.Messages;
using PostCopy.Tests.Testing;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Agent;

/// <summary>A token that is replaced while the agent runs.</summary>
public sealed class TokenRenewalTests
{
    [SkippableFact]
    public async Task A_new_token_is_in_force_for_the_next_connection_and_locks_the_old_one_out()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        SessionToken session = SessionToken.Create();
        (Peer control, Prepared answer) = agent.Prepare(session);
        using (control)
        {
            Assert.Empty(answer.Refusals);
            AgentToken renewed = Replace(agent, "another token for this agent", minutes: 1);
            Assert.Equal(WireErrorCode.Unauthorized, agent.Refused(LaneRole.Control, SessionToken.Create()).Code);
            Assert.Equal(WireErrorCode.Unauthorized, agent.Refused(LaneRole.Demand, session).Code);

            // The session is known by its own token still: its source needs the new file, and nothing else.
            using Peer demand = Peer.Connect(agent.EndPoint);
            demand.Open(renewed, LaneRole.Demand, session);
            demand.Expect(FrameKind.HelloAck);
            control.Send(RunningAgent.Frame(FrameKind.Cancel, new Cancel()));
            control.Expect(FrameKind.NeverRan);
        }
    }

    [SkippableFact]
    public async Task A_file_that_does_not_do_changes_nothing()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        Replace(agent, "another token for this agent", minutes: 1);
        File.SetUnixFileMode(agent.TokenFile, UnixFileMode.UserRead | UnixFileMode.OtherRead);
        agent.Open(LaneRole.Control, SessionToken.Create()).Dispose();
        File.Delete(agent.TokenFile);
        await agent.AssertServesTheNextAsync();
    }

    private static AgentToken Replace(RunningAgent agent, string text, int minutes)
    {
        File.WriteAllText(agent.TokenFile, text);
        // Two writes may be too close for the file system's clock.
        File.SetLastWriteTimeUtc(agent.TokenFile, DateTime.UtcNow.AddMinutes(minutes));
        return Tokens.Make(text);
    }
}
