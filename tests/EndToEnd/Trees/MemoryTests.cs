using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>How much memory there is, whose it is, and of what kind.</summary>
public sealed class MemoryTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    [SkippableFact]
    public async Task A_family_that_shares_pages_grows_as_was_predicted()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Storm storm = await Storm.StartAsync(lab, lab["a"], seed: 15, "cow");
        await using Migration migration = Migration.Start(lab, lab["a"], storm.Container.Id, agent.Endpoint, agent.TokenFile);
        MigrationResult result = await migration.WaitAsync();
        MigrationReport report = result.Expect(ExitCode.Moved, "moved");

        // Five processes share 8 MiB, of which each has written a sixteenth.
        Assert.InRange(report.Memory.SourceBytes, 8L << 20, 20L << 20);
        Assert.InRange(report.Memory.DestinationBytes, 5 * (8L << 20), 60L << 20);
        Assert.InRange(report.Pages.Total * 4096.0 / report.Memory.DestinationBytes, 0.8, 1.25);
        Assert.Contains("will hold", result.Error, StringComparison.Ordinal);
        Assert.Contains("growth", result.Command.Output, StringComparison.Ordinal);
        await storm.WaitForRoundsAsync(3);
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
        await storm.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task What_would_not_fit_into_its_limit_is_refused_before_the_freeze()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 32);
        string bundle = await Bundle.CopyAsync(lab, walker.Container.Bundle, "small-bundle");
        await Bundle.LimitMemoryAsync(bundle, mebibytes: 16);
        MigrationResult result = await Migration.RunAsync(lab, lab["a"], walker.Container, agent, "--bundle", bundle);
        result.Expect(ExitCode.Cannot, "refused");
        Assert.Contains("limits it to 16 MiB", result.Error, StringComparison.Ordinal);
        await walker.VerifyAsync();
        walker.AssertRanOn("a");
        await walker.Container.RemoveFromAsync(lab["a"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_full_memory_cgroup_holds_the_push_until_there_is_room_and_it_is_said()
    {
        Bed.RequirePostCopy();
        Skip.IfNot(Directory.Exists("/sys/fs/cgroup/memory"), "needs the memory controller of cgroup v1, where a full cgroup need not kill");
        await using Lab lab = await Lab.UpAsync("a", "b");
        await lab["a"].LimitRateAsync(24);
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        string bundle = "";
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 48, configure: made => Bundle.LimitMemoryAsync(bundle = made, mebibytes: 96));
        await using Migration migration = Migration.Start(lab, lab["a"], walker.Container.Id, agent.Endpoint, agent.TokenFile);
        await migration.WaitUntilItDrainsAsync();
        await Condition.WaitAsync(() => walker.ReadLog()[^1].Host == "b", Patience, "the container to run on the destination");
        // It would not only wait: a full cgroup of this kind has its system calls fail.
        await lab["b"].RunAsync("runc", "pause", walker.Container.Id);
        await lab["b"].RunAsync("runc", "update", "--memory", $"{24 << 20}", walker.Container.Id);
        await lab["a"].UnlimitRateAsync();

        await migration.Process.WaitForOutputAsync(static command => command.Error.Contains("has no memory for pages", StringComparison.Ordinal), Patience);
        await Condition.WaitAsync(() => agent.Process.Error.Contains("no memory for pages", StringComparison.Ordinal), Patience, "the agent to say it");
        Assert.Contains("memory cgroup is full", await lab["b"].RunAsync(Repository.PostCopy, "status"), StringComparison.Ordinal);
        Assert.False(migration.Process.HasExited);

        await lab["b"].RunAsync("runc", "update", "--memory", $"{96 << 20}", walker.Container.Id);
        Assert.Empty((await migration.WaitAsync()).Expect(ExitCode.Moved, "moved").Errors);
        await lab["b"].RunAsync("runc", "resume", walker.Container.Id);
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task Memory_on_swap_moves_if_all_of_it_fits_into_memory()
    {
        Bed.RequirePostCopy();
        Skip.IfNot(Directory.Exists("/sys/fs/cgroup/memory"), "needs the memory controller of cgroup v1");
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using SwapFile swap = await SwapFile.OnAsync(mebibytes: 96);
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 48);
        await walker.RestAsync();
        await lab["a"].RunAsync("runc", "update", "--memory", $"{36 << 20}", "--memory-swap", $"{200 << 20}", walker.Container.Id);
        Assert.True(swap.UsedKilobytes > 8 << 10, $"only {swap.UsedKilobytes} KiB were swapped out");
        MigrationResult refused = await Migration.RunAsync(lab, lab["a"], walker.Container, agent);
        refused.Expect(ExitCode.Cannot, "refused");
        Assert.Contains("limited to 36 MiB", refused.Error, StringComparison.Ordinal);

        await lab["a"].RunAsync("runc", "update", "--memory", $"{96 << 20}", walker.Container.Id);
        Assert.True(swap.UsedKilobytes > 8 << 10, "nothing is on swap any more");

        MigrationReport report = (await Migration.RunAsync(lab, lab["a"], walker.Container, agent)).Expect(ExitCode.Moved, "moved");
        Assert.True(report.Memory.SourceBytes > 40 << 20, "what is on swap counts");
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_large_and_mostly_empty_container_costs_little_on_the_wire()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 512, contents: "mostly-zero");
        MigrationReport report = (await Migration.RunAsync(lab, lab["a"], walker.Container, agent)).Expect(ExitCode.Moved, "moved");
        Assert.True(report.Pages.Zero > report.Pages.Total * 9 / 10, $"{report.Pages}");
        Assert.InRange(report.BytesOnWire, 0, 48L << 20);
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_little_memory_here_and_there_in_sixty_four_gibibytes_moves()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Storm storm = await Storm.StartAsync(lab, lab["a"], seed: 22, "wide");
        MigrationReport report = (await Migration.RunAsync(lab, lab["a"], storm.Container, agent)).Expect(ExitCode.Moved, "moved");
        Assert.InRange(report.Pages.Total, 2048 * 32, 2048 * 32 + 1024);
        await storm.WaitForRoundsAsync(3);
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
        await storm.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }
}
