using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>The agent is stopped or restarted, as service managers do, while containers are owed pages.</summary>
public sealed class AgentRestartTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [SkippableFact]
    public async Task Asked_to_stop_it_first_gets_what_is_owed_even_over_a_new_connection()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        // Before it runs here it would be given back.
        await Condition.WaitAsync(() => scene.Agent.Process.Error.Contains("runs here", StringComparison.Ordinal), Limit, "the container to run");
        await scene.Agent.Process.SignalAsync("TERM");
        await Condition.WaitAsync(() => scene.Agent.Process.Error.Contains("stopping; waiting for 1 session", StringComparison.Ordinal), Limit, "the agent to begin to stop");
        await scene.Lab["b"].RunAsync("ss", "-K", "sport", "=", ":7077");
        await Condition.WaitAsync(() => scene.Agent.Process.Error.Contains("is back", StringComparison.Ordinal), Limit, "the source to come back");

        // Nobody else is let in any more.
        Walker other = await Walker.StartAsync(scene.Lab, scene.Lab["a"], mebibytes: 1, name: "other");
        MigrationResult refused = await Migration.RunAsync(scene.Lab, scene.Lab["a"], other.Container, scene.Agent);
        Assert.True(refused.ExitCode == ExitCode.Cannot && refused.Error.Contains("being stopped", StringComparison.Ordinal), $"{refused.Command}");
        await other.Container.RemoveFromAsync(scene.Lab["a"]);

        await scene.UnlimitRateAsync();
        (await scene.Migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        Assert.Equal(0, (await scene.Agent.Process.WaitAsync(Limit)).ExitCode);
        await scene.ExpectWholeOnDestinationAsync();
    }

    /// <summary>What is in the agent's cgroup is killed: the keeper is not, so that no page reads as zero.</summary>
    [SkippableFact]
    public async Task Killed_with_its_whole_cgroup_it_leaves_the_keeper()
    {
        await using Scene scene = await Scene.StartAsync();
        await EnterServiceAsync(scene);
        await scene.DrainSlowlyAsync();
        // By then runc, which is in the service's cgroup, has done its part.
        await scene.WaitAWhileAsync();
        string killed = await scene.Lab["b"].RunAsync("bash", "-c", """
            for group in /sys/fs/cgroup/{,systemd/,unified/}agent.service; do
                [[ -e $group/cgroup.procs ]] || continue
                for pid in $(<"$group/cgroup.procs"); do
                    tr '\0' ' ' <"/proc/$pid/cmdline"; echo
                    kill -KILL "$pid"
                done
                break
            done
            """);
        Assert.True(killed.Contains("postcopy agent", StringComparison.Ordinal) && !killed.Contains("postcopy keeper", StringComparison.Ordinal), killed);
        await scene.Agent.Process.WaitAsync(Limit);
        await scene.WaitAWhileAsync();
        Assert.Equal("running", await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]));
        await scene.RestartAgentAsync();
        await scene.UnlimitRateAsync();
        (await scene.Migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        await scene.Walker.VerifyAsync();
        Assert.Equal(0, (await scene.Walker.StatsAsync()).Bad);
        scene.Walker.AssertRanOn("a", "b");
        await scene.Agent.DisposeAsync();
        await scene.Walker.Container.RemoveFromAsync(scene.Lab["b"]);
    }

    [SkippableFact]
    public async Task It_takes_over_several_containers_at_once()
    {
        await using Scene scene = await Scene.StartAsync(mebibytes: 32);
        Walker second = await Walker.StartAsync(scene.Lab, scene.Lab["a"], mebibytes: 32, name: "second");
        await scene.DrainSlowlyAsync();
        await using (Migration migration = Migration.Start(scene.Lab, scene.Lab["a"], second.Container.Id, scene.Agent.Endpoint, scene.Agent.TokenFile))
        {
            await migration.WaitUntilItDrainsAsync();
            await Condition.WaitAsync(
                async () => (await scene.StatusAsync("b")).Count(static session => session.GetProperty("state").GetString() == "running") == 2, Limit, "both to run there");
            await scene.KillAgentAsync();
            await scene.RestartAgentAsync();
            await scene.UnlimitRateAsync();
            (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        }

        await second.VerifyAsync();
        second.AssertRanOn("a", "b");
        (await scene.Migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        await second.Container.RemoveFromAsync(scene.Lab["b"]);
        await scene.ExpectWholeOnDestinationAsync();
    }

    /// <summary>docs/postcopy-agent.service says what these tests rely on, and starts a command that there is.</summary>
    [SkippableFact]
    public async Task The_unit_file_fits_the_program()
    {
        Bed.RequirePostCopy();
        string[] unit = await File.ReadAllLinesAsync(Path.Combine(Repository.Root, "docs", "postcopy-agent.service"));
        Assert.Contains("KillMode=process", unit);
        Assert.Contains("Type=notify", unit);
        string[] command = unit.Single(static line => line.StartsWith("ExecStart=", StringComparison.Ordinal)).Split(' ');
        CommandResult parsed = await RunningCommand.RunAsync(Limit, Repository.PostCopy, [.. command[1..], "--help"]);
        Assert.True(parsed.ExitCode == 0 && parsed.Output.Contains("--state-dir", StringComparison.Ordinal), $"{parsed}");
    }

    /// <summary>As a service manager has its services: in a cgroup of their own.</summary>
    private static Task<string> EnterServiceAsync(Scene scene) => scene.Lab["b"].RunAsync("bash", "-c", """
        pid=$(pgrep -f '[p]ostcopy agent --listen' | tail -n 1)
        for group in /sys/fs/cgroup/{,systemd/,unified/}agent.service; do
            [[ -e ${group%/*}/cgroup.procs ]] || continue
            mkdir "$group"
            echo "$pid" >"$group/cgroup.procs"
        done
        """);
}
