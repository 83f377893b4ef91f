using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd;

/// <summary>Whatever goes wrong before the hand-off, the source runs on and nothing is left anywhere.</summary>
public sealed class RollBackTests : IAsyncLifetime
{
    private Lab? _lab;
    private Walker? _walker;

    private Lab Hosts => _lab!;

    private Walker Program => _walker!;

    // Skipping is possible in a test alone, not while it is set up.
    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_lab is not null)
        {
            await _lab.DisposeAsync();
        }
    }

    [SkippableFact]
    public async Task The_destination_is_unreachable()
    {
        await StartAsync();
        string token = RunningAgent.WriteToken(Hosts, "token");
        await using Migration migration = Migration.Start(Hosts, Hosts["a"], Program.Container.Id, $"{Hosts["b"].Address}:7077", token);
        MigrationResult result = await migration.WaitAsync();

        Assert.Equal(ExitCode.Cannot, result.ExitCode);
        Assert.Contains(Hosts["b"].Address, result.Error, StringComparison.Ordinal);
        await AssertUnharmedAsync();
    }

    [SkippableFact]
    public async Task The_token_is_wrong()
    {
        await StartAsync();
        await using (RunningAgent agent = await Hosts["b"].StartAgentAsync())
        {
            string wrong = RunningAgent.WriteToken(Hosts, "wrong-token");
            await using Migration migration = Migration.Start(Hosts, Hosts["a"], Program.Container.Id, agent.Endpoint, wrong);
            MigrationResult result = await migration.WaitAsync();

            Assert.Equal(ExitCode.Cannot, result.ExitCode);
            Assert.Contains("token", result.Error, StringComparison.OrdinalIgnoreCase);
        }

        await AssertUnharmedAsync();
    }

    [SkippableFact]
    public async Task The_bundle_is_not_on_the_destination()
    {
        await StartAsync();
        await using (RunningAgent agent = await Hosts["b"].StartAgentAsync())
        {
            string missing = $"{Hosts.Shared}/no-such-bundle";
            MigrationResult result = await Migration.RunAsync(Hosts, Hosts["a"], Program.Container, agent, "--bundle", missing);

            Assert.True(result.ExitCode is ExitCode.Cannot or ExitCode.RolledBack, $"{result.Command}");
            Assert.Contains(missing, result.Error, StringComparison.Ordinal);
        }

        await AssertUnharmedAsync();
    }

    [SkippableFact]
    public async Task The_program_is_not_in_the_destinations_bundle()
    {
        await StartAsync();
        string bundle = await Bundle.CopyAsync(Hosts, Program.Container.Bundle, "bundle-without-program");
        File.Delete($"{bundle}/rootfs/bin/walker");
        await AssertRestoreFailsAsync(bundle, "bin/walker");
    }

    [SkippableFact]
    public async Task The_containers_network_is_not_on_the_destination()
    {
        await StartAsync(network: "/run/netns/walker-a");
        string bundle = await Bundle.CopyAsync(Hosts, Program.Container.Bundle, "bundle-without-network");
        string config = await File.ReadAllTextAsync($"{bundle}/config.json");
        await File.WriteAllTextAsync($"{bundle}/config.json", config.Replace("netns/walker-a", "netns/walker-missing", StringComparison.Ordinal));
        await using (RunningAgent agent = await Hosts["b"].StartAgentAsync())
        {
            MigrationResult result = await Migration.RunAsync(Hosts, Hosts["a"], Program.Container, agent, "--bundle", bundle);
            result.Expect(ExitCode.Cannot, "refused");
            Assert.Contains("walker-missing", result.Error, StringComparison.Ordinal);
        }

        await AssertUnharmedAsync();
    }

    /// <summary>While CRIU restores: <see cref="Recovery.StatusTests"/>.</summary>
    [SkippableFact]
    public async Task The_user_changes_his_mind_before_the_dump()
    {
        await StartAsync();
        await using (RunningAgent agent = await Hosts["b"].StartAgentAsync())
        {
            await using Migration migration = await StartHeldAsync(agent, "pre-dump");
            await migration.Process.SignalAsync("INT");
            await Recovery.Scene.WaitUntilDecidedAsync(Hosts["a"]);
            LetGo();
            (await migration.WaitAsync()).Expect(ExitCode.RolledBack, "rolled-back");
            await AssertEndedByItselfAsync(agent);
        }

        await AssertUnharmedAsync();
    }

    /// <summary>The destination's restore was not killed at last because it waited on for what does not come.</summary>
    internal static async Task AssertEndedByItselfAsync(RunningAgent agent)
    {
        await agent.Process.WaitForOutputAsync(static command => command.Error.Contains("was not taken", StringComparison.Ordinal), TimeSpan.FromSeconds(60));
        Assert.DoesNotContain("did not end within", agent.Process.Error, StringComparison.Ordinal);
    }

    /// <summary>CRIU outlives it, and leaves the container as frozen as it found it.</summary>
    [SkippableFact]
    public async Task The_runc_that_dumps_is_killed()
    {
        await StartAsync();
        await using (RunningAgent agent = await Hosts["b"].StartAgentAsync())
        {
            await using Migration migration = await StartHeldAsync(agent, "pre-restore");
            Assert.Equal(1, await Hosts["a"].SignalAsync("KILL", "runc.*checkpoint"));
            await migration.Process.SignalAsync("INT");
            LetGo();
            (await migration.WaitAsync()).Expect(ExitCode.RolledBack, "rolled-back");
        }

        await AssertUnharmedAsync();
    }

    [SkippableFact]
    public async Task The_agent_is_killed_while_it_restores()
    {
        await StartAsync();
        await using (RunningAgent agent = await Hosts["b"].StartAgentAsync())
        {
            await using Migration migration = await StartHeldAsync(agent, "pre-restore");
            await agent.Process.SignalAsync("USR1"); // host.sh passes it on; nothing handles it, so it kills
            await agent.Process.WaitAsync(TimeSpan.FromSeconds(20));
            LetGo();
            (await migration.WaitAsync()).Expect(ExitCode.RolledBack, "rolled-back");
        }

        // What a killed agent could not put away, the next one does.
        await (await Hosts["b"].StartAgentAsync()).DisposeAsync();
        await AssertUnharmedAsync();
    }

    private async Task StartAsync(string network = "host")
    {
        Bed.RequirePostCopy();
        _lab = await Lab.UpAsync("a", "b");
        if (network != "host")
        {
            await _lab["a"].MakeContainerNetworkAsync("walker-a", "10.77.0.100", connected: true);
        }

        _walker = await Walker.StartAsync(_lab, _lab["a"], mebibytes: 64, network: network);
    }

    private async Task AssertRestoreFailsAsync(string bundle, string named)
    {
        await using (RunningAgent agent = await Hosts["b"].StartAgentAsync())
        {
            MigrationResult result = await Migration.RunAsync(Hosts, Hosts["a"], Program.Container, agent, "--bundle", bundle);
            MigrationReport report = result.Expect(ExitCode.RolledBack, "rolled-back");
            Assert.NotEmpty(report.Errors);
            Assert.True(result.Error.Contains(named, StringComparison.Ordinal), $"it should have named {named}: {result.Command}");
        }

        await AssertUnharmedAsync();
    }

    /// <summary>Starts a migration and returns when CRIU waits at this step, on whichever host it comes; <see cref="LetGo"/> lets it go on.</summary>
    private async Task<Migration> StartHeldAsync(RunningAgent agent, string step)
    {
        string script = $"{Hosts.Shared}/hold.sh";
        string held = $"{Hosts.Shared}/held";
        await File.WriteAllTextAsync(script, $"#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" = {step} ] || exit 0\n: >{held}\nuntil [ -e {Hosts.Shared}/go ]; do sleep 0.02; done\n");
        File.SetUnixFileMode(script, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        await File.WriteAllTextAsync($"{Hosts.Shared}/hold.conf", $"action-script {script}\n");
        Migration migration = Migration.Start(Hosts, Hosts["a"], Program.Container.Id, agent.Endpoint, agent.TokenFile, "--criu-config", $"{Hosts.Shared}/hold.conf");
        await Condition.WaitAsync(() => File.Exists(held), TimeSpan.FromSeconds(30), $"CRIU to come to {step}");
        return migration;
    }

    private void LetGo() => File.WriteAllText($"{Hosts.Shared}/go", "");

    private async Task AssertUnharmedAsync()
    {
        Assert.Equal("running", await Program.Container.StatusOnAsync(Hosts["a"]));
        Assert.Null(await Program.Container.StatusOnAsync(Hosts["b"]));
        await Program.WaitUntilItLivesAsync();
        await Program.VerifyAsync();
        Assert.Equal(0, (await Program.StatsAsync()).Bad);
        Program.AssertRanOn("a");
        await Program.Container.RemoveFromAsync(Hosts["a"]);
        await Hosts.AssertNothingLeftAsync();
    }
}
