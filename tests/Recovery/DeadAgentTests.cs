using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>The destination's agent dies while pages are owed: tasks wait, and the agent that follows goes on.</summary>
[Collection(EndToEndCollection.Name)]
public sealed class DeadAgentTests
{
    [SkippableFact]
    public async Task Killed_in_the_drain_the_next_agent_serves_on()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await scene.KillAgentAsync();
        await scene.WaitAWhileAsync();
        Assert.Equal("running", await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]));
        await scene.RestartAgentAsync();
        await scene.ExpectMovedAsync();
    }

    [SkippableFact]
    public async Task Killed_again_and_again()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        for (int round = 0; round < 3; round++)
        {
            await scene.KillAgentAsync();
            await scene.RestartAgentAsync();
            int again = round + 1;
            await Condition.WaitAsync(
                () => scene.Migration.Process.HasExited || scene.Agent.Process.Error.Contains("is back", StringComparison.Ordinal), TimeSpan.FromSeconds(60), $"the source to come back, round {again}");
        }

        await scene.ExpectMovedAsync();
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
