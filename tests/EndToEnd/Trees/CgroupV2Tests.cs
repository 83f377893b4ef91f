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

    /// <summary>One hierarchy is all there is: whoever is taken out of it has other limits, and a cgroup left empty may be removed.</summary>
    [SkippableFact]
    public async Task A_tree_that_stays_is_where_it_was_each_process_in_its_own_cgroup()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpWithCgroupV2Async("a", "b");
        Storm storm = await Storm.StartBareAsync(lab, lab["a"], seed: 18, "threads", "arena");
        await lab["a"].RunAsync("sh", "-c", $"cd /sys/fs/cgroup && mkdir -p service/worker && echo {storm.Pid} >service/cgroup.procs && for pid in $(pgrep -P {storm.Pid}); do echo $pid >service/worker/cgroup.procs; done");
        string cgroups = await CgroupsAsync();
        Assert.Contains("0::/service/worker", cgroups, StringComparison.Ordinal);
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        {
            await BareTree.MoveInVainAsync(lab, lab["a"], storm.Pid, agent);
            Assert.Equal(cgroups, await CgroupsAsync());
            await storm.WaitForRoundsAsync(3);

            await using Migration second = Migration.StartProcess(lab, lab["a"], storm.Pid, agent);
            Assert.Empty((await second.WaitAsync()).Expect(ExitCode.Moved, "moved").Errors);
        }

        await lab["a"].RunAsync("rmdir", "/sys/fs/cgroup/service/worker", "/sys/fs/cgroup/service");
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");

        Task<string> CgroupsAsync() => lab["a"].RunAsync("sh", "-c", $"for pid in {storm.Pid} $(pgrep -P {storm.Pid}); do cat /proc/$pid/cgroup; done");
    }

    /// <summary>As with a service manager in the container.</summary>
    [SkippableFact]
    public async Task A_container_with_cgroups_of_its_own_making_moves()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpWithCgroupV2Async("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Storm storm = await Storm.StartAsync(lab, lab["a"], seed: 19, "threads", "arena");
        await lab["a"].RunAsync("sh", "-c", "cd /sys/fs/cgroup/storm && mkdir init && head -n 1 cgroup.procs >init/cgroup.procs && grep -q . cgroup.procs");
        Assert.Empty((await Migration.RunAsync(lab, lab["a"], storm.Container, agent)).Expect(ExitCode.Moved, "moved").Errors);
        await storm.WaitForRoundsAsync(3);
        await lab["b"].RunAsync("sh", "-c", "cd /sys/fs/cgroup/storm && grep -q . init/cgroup.procs && grep -q . cgroup.procs");
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
    }
}
