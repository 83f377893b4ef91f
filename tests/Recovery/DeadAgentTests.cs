using PostCopy.Tests.EndToEnd;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>The destination's agent dies while pages are owed: tasks wait, and the agent that follows goes on.</summary>
public sealed class DeadAgentTests
{
    [SkippableFact]
    public async Task Killed_in_the_drain_again_and_again_the_next_agent_serves_on()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        for (int round = 0; round < 2; round++)
        {
            await scene.KillAgentAsync();
            await scene.WaitAWhileAsync();
            Assert.Equal("running", await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]));
            await scene.RestartAgentAsync();
            int again = round + 1;
            await Condition.WaitAsync(
                () => scene.Agent.Process.Error.Contains("is back", StringComparison.Ordinal), TimeSpan.FromSeconds(60), $"the source to come back, round {again}");
        }

        await scene.ExpectMovedAsync();
    }

    [SkippableFact]
    public async Task Killed_while_its_restore_waits_for_the_images_it_leaves_nothing()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.StartHeldAsync("pre-dump");
        await WaitForRestoresAsync(scene, 1);
        await scene.KillAgentAsync();
        await scene.RestartAgentAsync();
        await WaitForRestoresAsync(scene, 0);
        scene.LetGo();
        (await scene.Migration.WaitAsync()).Expect(ExitCode.RolledBack, "rolled-back");
        await RollBackTests.AssertEndedByItselfAsync(scene.Agent);
        await scene.ExpectRolledBackAsync();
    }

    private static Task WaitForRestoresAsync(Scene scene, int count) =>
        Condition.WaitAsync(async () => await scene.Lab["b"].SignalAsync("0", "criu: restore") == count, TimeSpan.FromSeconds(60), $"{count} of CRIU's restores on the destination");

    /// <summary>So that the death of the one and then of the other is no more than the death of the agent.</summary>
    [SkippableFact]
    public async Task A_keeper_that_dies_has_a_successor()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        for (int deaths = 1; deaths <= 2; deaths++)
        {
            // The second time of an agent that has taken over.
            Assert.Equal(1, await scene.Lab["b"].SignalAsync("KILL", "postcopy keeper"));
            await scene.Agent.Process.WaitForOutputAsync(static agent => agent.Error.Contains("another one holds its 1 userfaultfds", StringComparison.Ordinal), TimeSpan.FromSeconds(20));
            await scene.KillAgentAsync();
            await scene.WaitAWhileAsync();
            Assert.Equal("running", await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]));
            await scene.RestartAgentAsync();
        }

        await scene.ExpectMovedAsync();
    }

    [SkippableFact]
    public async Task A_container_that_is_paused_stays_paused()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        // Handed off, it may stand still for a moment more, until all of its tasks are let go.
        await Condition.WaitAsync(async () => await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]) == "running", TimeSpan.FromSeconds(30), "it to run there");
        await scene.Lab["b"].RunAsync("runc", "pause", scene.Walker.Container.Id);
        await scene.KillAgentAsync();
        await scene.RestartAgentAsync();
        await scene.UnlimitRateAsync();
        (await scene.Migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        Assert.Equal("paused", await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]));
        await scene.Lab["b"].RunAsync("runc", "resume", scene.Walker.Container.Id);
        await scene.ExpectWholeOnDestinationAsync();
    }

    [SkippableFact]
    public async Task Both_sides_die_in_the_drain()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        string session = Assert.Single(await scene.StatusAsync("a")).GetProperty("session").GetString()!;
        await scene.KillAgentAsync();
        await scene.KillMigrateAsync();
        await scene.WaitAWhileAsync();
        await scene.RestartAgentAsync();
        await scene.ResumeAsync(session);
        await scene.ExpectMovedAsync();
    }
}
