using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>Hosts where cgroup v2 is all there is.</summary>
public sealed class CgroupV2Tests
{
    [SkippableFact]
    public async Task A_container_moves()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpWithCgroupV2Async("a", "b");
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 16);
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        {
            Assert.Empty((await Migration.RunAsync(lab, lab["a"], walker.Container, agent)).Expect(ExitCode.Moved, "moved").Errors);
        }

        await walker.VerifyAsync();
        Assert.Equal("cgroup2fs", (await lab["b"].RunAsync("stat", "-f", "-c", "%T", "/sys/fs/cgroup")).Trim());
        await lab["b"].RunAsync("test", "-e", "/sys/fs/cgroup/walker/cgroup.freeze");
        walker.AssertRanOn("a", "b");
        await lab["b"].RunAsync("runc", "pause", "walker");
        await lab["b"].RunAsync("runc", "resume", "walker");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_bare_tree_moves()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpWithCgroupV2Async("a", "b");
        Storm storm = await Storm.StartBareAsync(lab, lab["a"], seed: 17, "fork", "threads");
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        await using (Migration migration = Migration.StartProcess(lab, lab["a"], storm.Pid, agent))
        {
            Assert.Empty((await migration.WaitAsync()).Expect(ExitCode.Moved, "moved").Errors);
        }

        await storm.WaitForRoundsAsync(3);
        Assert.Contains("0::/postcopy-trees", await lab["b"].RunAsync("cat", $"/proc/{storm.Pid}/cgroup"), StringComparison.Ordinal);
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
        await (await lab["b"].StartAgentAsync()).DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }
}
