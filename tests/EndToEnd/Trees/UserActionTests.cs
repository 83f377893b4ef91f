using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>What people and their tools do while a container is being drained (docs/operations.md).</summary>
public sealed class UserActionTests
{
    [SkippableTheory]
    [InlineData("runc kill walker KILL")]
    [InlineData("runc delete --force walker")]
    public Task A_container_that_is_killed_on_the_destination_is_gone(string command) => WhileDrainingAsync(async (lab, walker, migration, _) =>
    {
        await lab["b"].RunAsync("sh", "-c", command);
        // Nobody needs the missing pages any more: the session ends, and so does the frozen copy.
        MigrationReport report = (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        Assert.True(report.Pages.Dropped > 0);
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
    });

    [SkippableFact]
    public Task A_container_that_is_paused_on_the_destination_still_gets_its_memory() => WhileDrainingAsync(async (lab, walker, migration, _) =>
    {
        await lab["b"].RunAsync("runc", "pause", "walker");
        await DrainAsync(lab, migration);
        Assert.Equal("paused", await walker.Container.StatusOnAsync(lab["b"]));
        await lab["b"].RunAsync("runc", "resume", "walker");
        await VerifyOnBAsync(lab, walker);
    });

    [SkippableFact]
    public Task What_is_done_to_the_frozen_copy_does_not_wake_it() => WhileDrainingAsync(async (lab, walker, migration, _) =>
    {
        foreach (string verb in (string[])["resume", "pause", "resume", "kill"])
        {
            await lab["a"].TryAsync("runc", verb, "walker");
        }

        await DrainAsync(lab, migration);
        await VerifyOnBAsync(lab, walker);
    });

    [SkippableFact]
    public Task A_second_migrate_is_refused_on_either_side() => WhileDrainingAsync(async (lab, walker, migration, agent) =>
    {
        MigrationResult again = await Migration.RunAsync(lab, lab["a"], walker.Container, agent);
        again.Expect(ExitCode.Cannot, "refused");
        await using (RunningAgent onA = await lab["a"].StartAgentAsync())
        {
            MigrationResult back = await Migration.RunAsync(lab, lab["b"], walker.Container, onA);
            back.Expect(ExitCode.Cannot, "refused");
            Assert.Contains("still arriving", back.Error, StringComparison.Ordinal);
        }

        await DrainAsync(lab, migration);
        await VerifyOnBAsync(lab, walker);
    });

    [SkippableFact]
    public Task Whoever_looks_at_the_container_waits_and_nobody_waits_for_him() => WhileDrainingAsync(async (lab, walker, migration, _) =>
    {
        Task<string> ps = lab["b"].RunAsync("ps", "aux");
        Task<string> top = lab["b"].RunAsync("top", "-b", "-n", "1");
        Task<string> list = lab["b"].RunAsync("runc", "list");
        Task<string> exec = lab["b"].RunAsync("runc", "exec", "walker", "/bin/cat", "/etc/postcopy-host");
        await DrainAsync(lab, migration);
        Assert.Contains("walker", await ps, StringComparison.Ordinal);
        Assert.NotEmpty(await top);
        Assert.Contains("running", await list, StringComparison.Ordinal);
        Assert.Equal("b", (await exec).Trim());
        await VerifyOnBAsync(lab, walker);
    });

    [SkippableTheory]
    [InlineData("INT")]
    [InlineData("TERM")]
    [InlineData("HUP")]
    public Task Signals_are_too_late_for_migrate_and_make_the_agent_finish_first(string signal) => WhileDrainingAsync(async (lab, walker, migration, agent) =>
    {
        await migration.Process.SignalAsync(signal);
        await agent.Process.SignalAsync(signal);
        await DrainAsync(lab, migration);
        (await agent.Process.WaitAsync(TimeSpan.FromSeconds(30))).EnsureSuccess();

        await VerifyOnBAsync(lab, walker);
    });

    private static async Task WhileDrainingAsync(Func<Lab, Walker, Migration, RunningAgent, Task> act)
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await lab["a"].LimitRateAsync(16);
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 32);
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        await using (Migration migration = Migration.Start(lab, lab["a"], walker.Container.Id, agent.Endpoint, agent.TokenFile))
        {
            await migration.WaitUntilItDrainsAsync();
            await Condition.WaitAsync(() => walker.ReadLog()[^1].Host == "b", TimeSpan.FromSeconds(20), "the container to run on the destination");
            await act(lab, walker, migration, agent);
        }

        await lab.AssertNothingLeftAsync();
    }

    /// <summary>What was to happen in the drain has happened.</summary>
    private static async Task DrainAsync(Lab lab, Migration migration)
    {
        await lab["a"].UnlimitRateAsync();
        (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
    }

    private static async Task VerifyOnBAsync(Lab lab, Walker walker)
    {
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        Assert.Null(await walker.Container.StatusOnAsync(lab["a"]));
        await walker.Container.RemoveFromAsync(lab["b"]);
    }
}
