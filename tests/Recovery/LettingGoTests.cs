using System.Globalization;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>
/// The agent dies in the few milliseconds between the source's yes and the copy's first instruction. CRIU goes on without it; nothing may roll back, and the
/// next agent serves on, whether it comes before or after CRIU has let the tasks go.
/// </summary>
public sealed class LettingGoTests
{
    [SkippableTheory]
    [InlineData("post-restore")]
    [InlineData("pre-resume")]
    public async Task The_next_agent_comes_before(string heldAt)
    {
        await using Scene scene = await StartHeldAsync(heldAt);
        await scene.RestartAgentAsync();
        scene.LetGo();
        await scene.ExpectMovedAsync();
    }

    [SkippableFact]
    public async Task The_next_agent_comes_after()
    {
        await using Scene scene = await StartHeldAsync("post-restore");
        scene.LetGo();
        await Condition.WaitAsync(
            async () => await scene.Lab["b"].SignalAsync("0", "runc.*restore") == 0, TimeSpan.FromSeconds(30), "runc to end");
        await scene.RestartAgentAsync();
        await scene.ExpectMovedAsync();
    }

    /// <summary>The source has said yes; but no task has run, which is certain, so the container runs on there.</summary>
    [SkippableTheory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task CRIU_dies_with_the_tasks_frozen(bool agentToo)
    {
        await using Scene scene = await Scene.StartAsync();
        int criu = await scene.StartHeldAsync("pre-resume");
        if (agentToo)
        {
            await scene.KillAgentAsync();
        }

        await scene.Lab["b"].RunAsync("kill", "-KILL", criu.ToString(CultureInfo.InvariantCulture));
        scene.LetGo();
        if (agentToo)
        {
            await scene.RestartAgentAsync();
        }

        (await scene.Migration.WaitAsync()).Expect(ExitCode.RolledBack, "rolled-back");
        await scene.ExpectRolledBackAsync();
    }

    /// <summary>
    /// Nobody holds CRIU's connection any more: not the keeper that was given it, not the agent. CRIU takes that for a failed restore, kills the tasks and would wait for ever
    /// for their end.
    /// </summary>
    [SkippableFact]
    public async Task CRIU_fails_and_does_not_end()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.LimitRateAsync(4);
        await scene.StartHeldAsync("post-restore");
        Assert.Equal(1, await scene.Lab["b"].SignalAsync("KILL", "postcopy keeper"));
        await scene.Agent.Process.WaitForOutputAsync(static agent => agent.Error.Contains("another one holds its 1 userfaultfds", StringComparison.Ordinal), TimeSpan.FromSeconds(20));
        await scene.KillAgentAsync();
        scene.LetGo();
        await scene.RestartAgentAsync();
        (await scene.Migration.WaitAsync()).Expect(ExitCode.RolledBack, "rolled-back");
        await scene.ExpectRolledBackAsync();
    }

    private static async Task<Scene> StartHeldAsync(string step)
    {
        Scene scene = await Scene.StartAsync();
        await scene.LimitRateAsync(4);
        await scene.StartHeldAsync(step);
        await scene.KillAgentAsync();
        return scene;
    }
}
