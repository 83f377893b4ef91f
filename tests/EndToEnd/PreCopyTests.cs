using PostCopy.Tests.Recovery;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd;

/// <summary>Memory is copied while the container runs, and behind the freeze what is still true of it is put in place on the destination.</summary>
public sealed class PreCopyTests
{
    [SkippableTheory]
    [InlineData("post-copy")]
    [InlineData("stop-copy")]
    public async Task Most_memory_is_there_before_the_freeze(string mode)
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 128);
        WalkerStats before = await walker.StatsAsync();
        MigrationReport report;
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        {
            MigrationResult result = await Migration.RunAsync(lab, lab["a"], walker.Container, agent, "--pre-copy", "--verify", "--mode", mode);
            report = result.Expect(ExitCode.Moved, "moved");
        }

        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        WalkerStats after = await walker.StatsAsync();
        Assert.Equal((before.Nonce, before.Pid, 0), (after.Nonce, after.Pid, after.Bad));
        Assert.Empty(report.Errors);
        Assert.NotNull(report.PreCopy);
        Assert.NotEmpty(report.PreCopy.Rounds);
        Assert.True(report.PreCopy.Rounds[0].Pages >= before.Pages * 15 / 16, $"{report.PreCopy.Rounds[0].Pages} pages in the first round");
        Assert.True(report.Pages.Staged > report.Pages.Total / 2, $"{report.Pages.Staged} of {report.Pages.Total} pages were there at the freeze");
        Assert.True(report.Pages.Stale > 0, "the walker writes all the time: some of what was copied must have been written since");
        Assert.True(report.PreCopy.BytesAfter < report.PreCopy.BytesBefore, $"{report.PreCopy.BytesBefore} bytes before the freeze, {report.PreCopy.BytesAfter} behind");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }

    [SkippableTheory]
    [InlineData("threads", "stacks", "fresh", "fork", "cow", "exec")]
    [InlineData("mremap", "unmap", "madvise", "protect", "arena", "gc")]
    [InlineData("huge", "nohuge", "ksm", "sparse", "zero", "locked", "shared", "files", "seccomp")]
    public async Task Whatever_programs_do_to_their_memory_meanwhile(params string[] workers)
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Storm storm = await Storm.StartAsync(lab, lab["a"], (ulong)Random.Shared.NextInt64(), workers);
        MigrationReport report = (await Migration.RunAsync(lab, lab["a"], storm.Container, agent, "--pre-copy")).Expect(ExitCode.Moved, "moved");
        Assert.Empty(report.Errors);
        Assert.True(report.Pages.Staged > 0, $"nothing was there at the freeze: {report.PreCopy}");
        // Who has a seccomp filter is left out.
        Assert.Equal(workers.Contains("seccomp"), report.PreCopy!.LeftOut.Any(static reason => reason.Contains("seccomp", StringComparison.Ordinal)));
        await storm.WaitForRoundsAsync(3);
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
        await storm.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_bare_trees_memory_is_copied_before_the_freeze_too()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Storm storm = await Storm.StartBareAsync(lab, lab["a"], seed: 23, "threads", "fork", "cow", "zero");
        await using Migration migration = Migration.StartProcess(lab, lab["a"], storm.Pid, agent, "--pre-copy");
        MigrationReport report = (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        Assert.Empty(report.Errors);
        Assert.True(report.Pages.Staged > report.Pages.Total / 2, $"{report.Pages.Staged} of {report.Pages.Total} pages were there at the freeze");
        await storm.WaitForRoundsAsync(3);
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_writer_faster_than_the_link_moves_all_the_same()
    {
        MigrationReport report = await MoveWalkerAsync(16, threads: 4, agentOptions: [], "--max-rate", "4", "--max-pre-copy", "30");
        Assert.Contains(report.PreCopy!.Ended, (string[])["only-hot-left", "no-progress", "max-rounds", "max-time"]);
    }

    [SkippableFact]
    public async Task A_full_staging_area_ends_the_rounds_and_no_more()
    {
        MigrationReport report = await MoveWalkerAsync(64, threads: 2, ["--staging-limit", "16"]);
        Assert.Equal("staging-full", report.PreCopy!.Ended);
        Assert.InRange(report.Pages.Staged, 1, (16 << 8) + (report.Pages.Zero * 2));
    }

    [SkippableFact]
    public async Task Without_room_there_all_memory_moves_behind_the_freeze()
    {
        MigrationReport report = await MoveWalkerAsync(16, threads: 2, ["--staging-limit", "0"]);
        Assert.Equal(("not-possible", 0L), (report.PreCopy!.Ended, report.Pages.Staged));
        Assert.Contains(report.Errors, static error => error.Contains("before the freeze", StringComparison.Ordinal));
    }

    /// <summary>What was kept dies with the agent that kept it: it is owed again.</summary>
    [SkippableFact]
    public async Task An_agent_that_dies_in_the_drain_loses_nothing()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.LimitRateAsync(8);
        scene.StartMigration("--pre-copy");
        await scene.WaitForPhaseAsync("memory follows");
        await scene.KillAgentAsync();
        await scene.RestartAgentAsync();
        Assert.True((await scene.ExpectMovedAsync()).Pages.Staged > 0, "nothing was kept, so nothing died with the agent");
    }

    /// <summary>The pair of hosts can do it, and something was done: that is a roll-back and no refusal.</summary>
    [SkippableFact]
    public async Task An_agent_that_dies_while_memory_is_copied_leaves_the_container_at_the_source()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.LimitRateAsync(8);
        scene.StartMigration("--pre-copy");
        await scene.WaitForPhaseAsync("round 1");
        await scene.KillAgentAsync();
        MigrationResult result = await scene.Migration.WaitAsync();
        MigrationReport report = result.Expect(ExitCode.RolledBack, "rolled-back");
        Assert.Contains("stays here as it was, and nowhere else", result.Command.Output, StringComparison.Ordinal);
        Assert.StartsWith("while memory was copied before the freeze: ", Assert.Single(report.Errors), StringComparison.Ordinal);
        Assert.Equal("broken-off", report.PreCopy!.Ended);
        Assert.True(report.PreCopy.BytesBefore > 0, "something was copied");
        await scene.RestartAgentAsync();
        await scene.ExpectRolledBackAsync();
    }

    /// <summary>The container runs on, and nothing of the watch is left in it.</summary>
    [SkippableFact]
    public async Task A_source_that_dies_while_it_copies_leaves_no_trace()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.LimitRateAsync(8);
        scene.StartMigration("--pre-copy");
        await scene.WaitForPhaseAsync("round 1");
        await scene.KillMigrateAsync();
        await scene.UnlimitRateAsync();
        await scene.Walker.VerifyAsync();
        scene.StartMigration("--pre-copy");
        await scene.ExpectMovedAsync();
    }

    private static async Task<MigrationReport> MoveWalkerAsync(int mebibytes, int threads, string[] agentOptions, params string[] options)
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes, threads);
        await using RunningAgent agent = await lab["b"].StartAgentAsync(agentOptions);
        MigrationReport report = (await Migration.RunAsync(lab, lab["a"], walker.Container, agent, ["--pre-copy", .. options])).Expect(ExitCode.Moved, "moved");
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
        return report;
    }
}
