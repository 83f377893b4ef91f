using System.Net;
using System.Runtime.InteropServices;
using Google.Protobuf;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using PostCopy.Agent;
using PostCopy.Control.Messages;
using PostCopy.Linux;
using PostCopy.Tests.TestBed;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Wire;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Agent;

/// <summary>A real agent in this process, with a directory of its own for everything it keeps, and a keeper that does nothing but wait.</summary>
internal sealed class RunningAgent : IAsyncDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("postcopy-wire-agent-");
    private readonly Action<AgentOptions>? _configure;
    private readonly string _keeper;
    private IHost _host;

    private RunningAgent(Action<AgentOptions>? configure)
    {
        _configure = configure;
        TokenFile = Path.Combine(_directory.FullName, "token");
        WriteFile(TokenFile, "a token for this agent", UnixFileMode.UserRead | UnixFileMode.UserWrite);
        Token = AgentToken.Load(TokenFile);
        _keeper = Path.Combine(_directory.FullName, "keeper");
        // Ends when it is told to let go, or when the agent's end closes.
        WriteFile(_keeper, "#!/bin/sh\nexec head -c 1 <&3 >/dev/null\n", UnixFileMode.UserRead | UnixFileMode.UserExecute);
        WriteFile(Path.Combine(_directory.CreateSubdirectory("bundles/web").FullName, "config.json"), "{}", UnixFileMode.UserRead);
        _host = Build();
    }

    private IHost Build()
    {
        HostApplicationBuilder builder = new(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Services.AddPostCopyAgent(options =>
        {
            options.Listen = AgentEndpoint.Parse("127.0.0.1:0");
            options.TokenFile = TokenFile;
            options.StateDirectory = StateDirectory;
            options.RuncRoot = Path.Combine(_directory.FullName, "runc");
            options.BundleRoot = Bundles;
            options.KeeperProgram = _keeper;
            _configure?.Invoke(options);
        });
        return builder.Build();
    }

    public AgentToken Token { get; }

    public string TokenFile { get; }

    public string StateDirectory => Path.Combine(_directory.FullName, "state");

    public string Bundles => Path.Combine(_directory.FullName, "bundles");

    public EndPoint EndPoint => _host.Services.GetRequiredService<AgentService>().LocalEndPoint!;

    /// <summary>What the test asks for: the container's id and bundle are such as the agent takes.</summary>
    public Prepare Container => new()
    {
        ContainerId = "postcopy-wire-test",
        Bundle = Path.Combine(Bundles, "web"),
        Architecture = RuntimeInformation.ProcessArchitecture.ToString(),
        CriuVersion = "3.15",
        MemoryBytes = 1 << 20,
    };

    /// <param name="prepare">What is to be there before the agent starts.</param>
    public static async Task<RunningAgent> StartAsync(Action<AgentOptions>? configure = null, Action<RunningAgent>? prepare = null)
    {
        Skip.If(ChildPath.Find("runc") is null || ChildPath.Find("criu") is null, "needs runc and CRIU: eng/setup.sh test installs them");
        RunningAgent agent = new(configure);
        try
        {
            prepare?.Invoke(agent);
            await agent._host.StartAsync();
            return agent;
        }
        catch
        {
            agent._host.Dispose();
            agent._directory.Delete(recursive: true);
            throw;
        }
    }

    public static byte[] Frame(FrameKind kind, IMessage message) => Samples.Frame(kind, 0, message.ToByteArray());

    /// <summary>A lane that was let in.</summary>
    public Peer Open(LaneRole role, SessionToken session)
    {
        Peer peer = Peer.Connect(EndPoint);
        peer.Open(Token, role, session);
        peer.Expect(FrameKind.HelloAck);
        return peer;
    }

    /// <summary>A lane that was not.</summary>
    public (WireErrorCode Code, string Text) Refused(LaneRole role, SessionToken session, AgentToken? token = null)
    {
        using Peer peer = Peer.Connect(EndPoint);
        peer.Open(token ?? Token, role, session);
        return peer.ExpectRefusal();
    }

    /// <summary>A control lane, up to the agent's word whether it takes the container.</summary>
    public (Peer Control, Prepared Answer) Prepare(SessionToken session, Action<Prepare>? change = null)
    {
        Prepare container = Container;
        change?.Invoke(container);
        Peer control = Open(LaneRole.Control, session);
        control.Send(Frame(FrameKind.Prepare, container));
        return (control, Prepared.Parser.ParseFrom(control.Expect(FrameKind.Prepared)));
    }

    /// <summary>The next source is served as if nothing had happened, and of those before nothing is left.</summary>
    public async Task AssertServesTheNextAsync()
    {
        (Peer control, Prepared answer) = Prepare(SessionToken.Create());
        using (control)
        {
            Assert.Empty(answer.Refusals);
            control.Send(Frame(FrameKind.Cancel, new Cancel { Reason = "only a test" }));
            Assert.Empty(NeverRan.Parser.ParseFrom(control.Expect(FrameKind.NeverRan)).Errors);
        }

        await Condition.WaitAsync(() => !Sessions.Any(), Peer.Patience, "the sessions' directories are removed");
    }

    /// <summary>Directories of sessions: everything in the state directory but the kept logs.</summary>
    public IEnumerable<string> Sessions =>
        Directory.Exists(StateDirectory) ? Directory.EnumerateFileSystemEntries(StateDirectory).Where(static path => Path.GetFileName(path) != "logs") : [];

    public Task StopAsync() => _host.StopAsync().WaitAsync(Peer.Patience);

    /// <summary>Another agent in the place of one that was stopped.</summary>
    public Task RestartAsync()
    {
        _host.Dispose();
        _host = Build();
        return _host.StartAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync();
        _host.Dispose();
        _directory.Delete(recursive: true);
    }

    private static void WriteFile(string path, string text, UnixFileMode mode)
    {
        File.WriteAllText(path, text);
        File.SetUnixFileMode(path, mode);
    }
}
