using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>What is in a container's cgroup but not in its tree would be killed with it, and run nowhere.</summary>
public sealed class CgroupStrangerTests
{
    [SkippableFact]
    public async Task What_runc_exec_has_started_is_named_and_neither_frozen_nor_killed()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 16);
        await lab["a"].RunAsync(Container.DetachedRunc($"{lab.Shared}/exec.log", "exec", "--detach", "walker", "/bin/sleep", "300"));
        string pid = (await lab["a"].RunAsync("pgrep", "-xf", "/bin/sleep 300")).Trim();

        MigrationResult refused = await Migration.RunAsync(lab, lab["a"], walker.Container, agent);
        refused.Expect(ExitCode.Cannot, "refused");
        Assert.Contains($"pid {pid} in the cgroup", refused.Error, StringComparison.Ordinal);
        await walker.WaitUntilItLivesAsync();

        await lab["a"].RunAsync("kill", "-KILL", pid);
        (await Migration.RunAsync(lab, lab["a"], walker.Container, agent)).Expect(ExitCode.Moved, "moved");
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }
}
