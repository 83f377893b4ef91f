using System.Net;
using System.Net.Sockets;
using PostCopy.Agent;
using PostCopy.Control.Messages;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Wire;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Agent;

public sealed class AgentStartTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("postcopy-wire-start-").FullName;

    private string Socket => Path.Combine(_directory, "run", "agent.sock");

    [SkippableTheory]
    [InlineData("0.0.0.0:0")]
    [InlineData("[::]:0")]
    [InlineData("192.0.2.1:7077")]
    public async Task Listening_beyond_this_machine_must_be_asked_for(string endpoint)
    {
        AgentStartException e = await StartFailsAsync(options => options.Listen = AgentEndpoint.Parse(endpoint));
        Assert.Contains("can be reached from other machines", e.Message);
        await using RunningAgent agent = await RunningAgent.StartAsync(static options =>
        {
            options.Listen = AgentEndpoint.Parse("0.0.0.0:0");
            options.Insecure = true;
        });
        Assert.Equal(IPAddress.Any, ((IPEndPoint)agent.EndPoint).Address);
    }

    [SkippableTheory]
    [InlineData(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead)]
    [InlineData(UnixFileMode.UserRead | UnixFileMode.GroupRead)]
    [InlineData(UnixFileMode.UserRead | UnixFileMode.OtherWrite)]
    public async Task A_token_that_others_can_read_or_change_is_none(UnixFileMode mode)
    {
        AgentStartException e = await StartFailsAsync(options => File.SetUnixFileMode(options.TokenFile, mode));
        Assert.Contains("can be read or changed by others than its owner: chmod 0600", e.Message);
    }

    [SkippableFact]
    public async Task A_short_token_is_none()
    {
        AgentStartException e = await StartFailsAsync(static options => File.WriteAllText(options.TokenFile, "short\n"));
        Assert.Contains("shorter than 16 characters", e.Message);
    }

    [SkippableFact]
    public async Task A_token_is_made_when_there_is_none()
    {
        string file = Path.Combine(_directory, "etc", "token");
        await using RunningAgent agent = await RunningAgent.StartAsync(options => options.TokenFile = file);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        Assert.Equal(WireErrorCode.Unauthorized, agent.Refused(LaneRole.Control, SessionToken.Create(), Tokens.Another).Code);
        using Peer peer = Peer.Connect(agent.EndPoint);
        peer.Open(AgentToken.Load(file), LaneRole.Control, SessionToken.Create());
        peer.Expect(FrameKind.HelloAck);
    }

    [SkippableFact]
    public async Task A_port_that_is_taken_is_said_as_such()
    {
        await using RunningAgent first = await RunningAgent.StartAsync();
        AgentStartException e = await StartFailsAsync(options => options.Listen = AgentEndpoint.Parse(first.EndPoint.ToString()!));
        Assert.Contains($"cannot listen on {first.EndPoint}", e.Message);
    }

    [SkippableFact]
    public async Task A_unix_socket_is_open_to_its_owner_alone_and_needs_no_token()
    {
        await using (RunningAgent agent = await RunningAgent.StartAsync(OnUnixSocket))
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Socket));
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.GetDirectoryName(Socket)!));
            using Peer peer = Peer.Connect(new UnixDomainSocketEndPoint(Socket));
            peer.Open(AgentToken.None, LaneRole.Control, SessionToken.Create());
            peer.Expect(FrameKind.HelloAck);
        }

        Assert.False(File.Exists(Socket));
    }

    [SkippableFact]
    public async Task A_living_agents_socket_is_left_alone_a_dead_ones_is_replaced()
    {
        await using (RunningAgent first = await RunningAgent.StartAsync(OnUnixSocket))
        {
            AgentStartException e = await StartFailsAsync(OnUnixSocket);
            Assert.Contains($"another agent listens on unix:{Socket}", e.Message);
            using Peer peer = Peer.Connect(new UnixDomainSocketEndPoint(Socket));
            peer.Expect(FrameKind.Welcome);
        }

        using (Socket dead = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            // Disposing removes the file by the name it was bound to: a killed agent's stays.
            dead.Bind(new UnixDomainSocketEndPoint(Socket + ".bound"));
            File.Move(Socket + ".bound", Socket);
        }

        Assert.True(File.Exists(Socket));
        await using RunningAgent second = await RunningAgent.StartAsync(OnUnixSocket);
        using Peer next = Peer.Connect(new UnixDomainSocketEndPoint(Socket));
        next.Expect(FrameKind.Welcome);
    }

    [SkippableFact]
    public async Task An_agent_that_stops_gives_back_what_has_not_been_handed_off()
    {
        RunningAgent agent = await RunningAgent.StartAsync();
        await using (agent)
        {
            (Peer control, Prepared answer) = agent.Prepare(SessionToken.Create());
            using Peer idle = Peer.Connect(agent.EndPoint);
            idle.Expect(FrameKind.Welcome);
            Assert.Empty(answer.Refusals);
            Task stopping = agent.StopAsync();
            NeverRan last = NeverRan.Parser.ParseFrom(control.Expect(FrameKind.NeverRan));
            Assert.Equal("the agent on the destination is being stopped", Assert.Single(last.Errors));
            Assert.False(stopping.IsCompleted);
            control.Send(Samples.Frame(FrameKind.Goodbye));
            control.ExpectEnd();
            await stopping;
            Assert.Empty(agent.Sessions);
        }
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private void OnUnixSocket(AgentOptions options) => options.Listen = AgentEndpoint.Parse("unix:" + Socket);

    private static Task<AgentStartException> StartFailsAsync(Action<AgentOptions> configure) =>
        Assert.ThrowsAsync<AgentStartException>(() => RunningAgent.StartAsync(configure));
}
