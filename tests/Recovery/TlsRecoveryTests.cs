using System.Text.Json;
using PostCopy.Certificates;
using PostCopy.Tests.TestBed;
using PostCopy.Tests.Testing;

namespace PostCopy.Tests.Recovery;

/// <summary>Every way back into a session is proved as the way in was: with certificates, names and the token, and for nobody else.</summary>
public sealed class TlsRecoveryTests : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly TlsHosts _hosts = new();

    [SkippableFact]
    public async Task A_session_goes_on_over_TLS_whatever_dies_and_whoever_else_calls()
    {
        await using Scene scene = await Scene.StartAsync(agentOptions: [.. Options(_hosts.Issue("b")), "--allow", "a"]);
        // As a user would name them, from where he is.
        TlsFiles source = _hosts.Issue("a");
        await scene.DrainSlowlyAsync([.. Options(new TlsFiles(Relative(source.Authority), Relative(source.Certificate), Relative(source.Key))), "--tls-name", "b"]);
        Assert.Contains("connections are encrypted", scene.Agent.Process.Error, StringComparison.Ordinal);

        await scene.Lab["b"].RunAsync("ss", "-K", "sport", "=", ":7077");
        await Condition.WaitAsync(() => scene.Agent.Process.Error.Contains("is back", StringComparison.Ordinal), Limit, "the source to come back");
        await scene.KillAgentAsync();
        await scene.RestartAgentAsync();
        await Condition.WaitAsync(() => scene.Agent.Process.Error.Contains("is back", StringComparison.Ordinal), Limit, "the source to come back to the next agent");

        await scene.KillMigrateAsync();
        string session = Assert.Single(await scene.StatusAsync("a")).GetProperty("session").GetString()!;
        await AssertStrangersAreRefusedAsync(scene);
        JsonElement there = Assert.Single(await scene.StatusAsync("b"));
        Assert.Equal((session, "running"), (there.GetProperty("session").GetString(), there.GetProperty("state").GetString()));

        await scene.ResumeAsync(session);
        await scene.ExpectMovedAsync();
    }

    public void Dispose() => _hosts.Dispose();

    /// <summary>While the session waits for its source.</summary>
    private async Task AssertStrangersAreRefusedAsync(Scene scene)
    {
        using TlsHosts others = new();
        TlsFiles foreign = others.Issue("a");
        TlsFiles own = _hosts.Issue("a");
        string wrongToken = RunningAgent.WriteToken(scene.Lab, "wrong-token");
        (string[] Options, string Says)[] strangers =
        [
            ([.. Options(_hosts.Issue("c")), "--token-file", scene.Agent.TokenFile], "--allow"),
            ([.. Options(foreign with { Authority = own.Authority }), "--token-file", scene.Agent.TokenFile], "not signed by an authority"),
            ([.. Options(own), "--token-file", wrongToken], "token"),
            (["--insecure", "--token-file", scene.Agent.TokenFile], "certificate"),
        ];
        foreach ((string[] options, string says) in strangers)
        {
            string[] name = options.Contains("--insecure") ? [] : ["--tls-name", "b"];
            CommandResult refused = await scene.Lab["a"].TryAsync([Repository.PostCopy, "check", "--to", scene.Agent.Endpoint, .. options, .. name]);
            Assert.True(refused.ExitCode != 0 && $"{refused.Output}{refused.Error}".Contains(says, StringComparison.Ordinal), $"it should have named {says}: {refused}");
        }
    }

    private static string[] Options(TlsFiles files) => ["--tls-ca", files.Authority, "--tls-cert", files.Certificate, "--tls-key", files.Key];

    private static string Relative(string path) => Path.GetRelativePath(Repository.Root, path);
}
