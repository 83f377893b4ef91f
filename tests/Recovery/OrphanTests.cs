using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>The first process of a bare tree ends while pages are owed and nobody is there to bring them: the others still get theirs, and never zeroes.</summary>
public sealed class OrphanTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [SkippableFact]
    public async Task Children_of_a_root_that_ended_while_both_sides_were_dead_get_all_of_their_memory()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        string directory = $"{lab.Shared}/orphan";
        Directory.CreateDirectory(directory);
        int root = await BareTree.StartAsync(lab["a"], "sh", "-c", $"{lab.Programs}/walker {directory} 32 1 mixed & wait");
        Walker walker = Walker.At(directory);
        int child = (await walker.StatsAsync()).Pid;
        Assert.NotEqual(root, child);

        await lab["a"].LimitRateAsync(64);
        RunningAgent agent = await lab["b"].StartAgentAsync();
        Migration migration = Migration.StartProcess(lab, lab["a"], root, agent);
        await migration.WaitUntilItDrainsAsync();
        string session = Assert.Single(await Scene.StatusAsync(lab["a"])).GetProperty("session").GetString()!;
        Assert.Equal(1, await lab["a"].SignalAsync("KILL", "postcopy migrate"));
        await migration.DisposeAsync();
        await lab["b"].RunAsync("kill", "-KILL", $"{root}");
        await WaitUntilGoneAsync(lab["b"], root);
        Assert.Equal(1, await lab["b"].SignalAsync("KILL", "postcopy agent"));
        await agent.DisposeAsync();
        agent = await lab["b"].StartAgentAsync();

        await lab["a"].UnlimitRateAsync();
        migration = Migration.Resume(lab, lab["a"], session);
        (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await migration.DisposeAsync();
        await agent.DisposeAsync();
        await lab["b"].RunAsync("kill", "-KILL", $"{child}");
        await WaitUntilGoneAsync(lab["b"], child);
        await (await lab["b"].StartAgentAsync()).DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_container_that_ends_while_nothing_arrives_is_owed_nothing()
    {
        await using Scene scene = await Scene.StartAsync();
        scene.StartMigration("--policy", "none");
        await scene.WaitForPhaseAsync("memory follows");
        await scene.Walker.Container.RemoveFromAsync(scene.Lab["b"]);
        (await scene.Migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        await scene.Agent.DisposeAsync();
        await scene.Lab.AssertNothingLeftAsync();
    }

    private static Task WaitUntilGoneAsync(LabHost host, int pid) =>
        Condition.WaitAsync(() => !Directory.Exists($"{host.Root}/proc/{pid}"), Limit, $"the end of process {pid}");
}
