using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>A task that waits in vfork(2) cannot be stopped: neither can a container be dumped then, nor must it stand still for long.</summary>
[Collection(AloneCollection.Name)]
public sealed class StoppingTests
{
    [SkippableFact]
    public Task It_is_let_go_and_tried_again() => WhileInVforkAsync(async (lab, storm, migration) =>
    {
        await migration.Process.WaitForOutputAsync(static command => command.Error.Contains("trying again", StringComparison.Ordinal), TimeSpan.FromSeconds(30));
        storm.Release();
        (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        await storm.WaitForRoundsAsync(3);
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
        await storm.Container.RemoveFromAsync(lab["b"]);
    });

    [SkippableFact]
    public Task It_runs_on_when_its_child_does_not_end() => WhileInVforkAsync(async (lab, storm, migration) =>
    {
        MigrationResult result = await migration.WaitAsync();
        result.Expect(ExitCode.RolledBack, "rolled-back");
        Assert.Contains("vfork", result.Error, StringComparison.Ordinal);
        storm.Release();
        await storm.WaitForRoundsAsync(3);
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a");
        await storm.Container.RemoveFromAsync(lab["a"]);
    }, "timeout 1");

    private static async Task WhileInVforkAsync(Func<Lab, Storm, Migration, Task> act, string criuOptions = "")
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Storm storm = await Storm.StartAsync(lab, lab["a"], seed: 14, "vfork", "fork");
        await storm.HoldAsync();
        string config = $"{lab.Shared}/criu-options";
        await File.WriteAllTextAsync(config, criuOptions);
        await using (Migration migration = Migration.Start(lab, lab["a"], storm.Container.Id, agent.Endpoint, agent.TokenFile, "--criu-config", config))
        {
            await act(lab, storm, migration);
        }

        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }
}
