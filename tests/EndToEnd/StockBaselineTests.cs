using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd;

/// <summary>Proves the bed: what runc and CRIU can do alone works between its hosts.</summary>
public sealed class StockBaselineTests
{
    [SkippableFact]
    public async Task Runc_and_criu_move_a_container_between_two_hosts()
    {
        Bed.Require();
        await using Lab lab = await Lab.UpAsync("a", "b");
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 64);
        WalkerStats before = await walker.StatsAsync();
        await walker.SweepOnMoveAsync("random");

        await StockMigration.RunAsync(lab, walker.Container, lab["a"], lab["b"]);

        WalkerSweep sweep = await walker.SweepAfterMoveAsync(TimeSpan.FromSeconds(60));
        Assert.Equal(before.Pages, sweep.Pages);
        await walker.VerifyAsync();
        WalkerStats after = await walker.StatsAsync();
        Assert.Equal(before.Nonce, after.Nonce);
        Assert.Equal(0, after.Bad);
        Assert.True(after.Writes > before.Writes, "it should have gone on writing");
        walker.AssertRanOn("a", "b");
        Assert.Null(await walker.Container.StatusOnAsync(lab["a"]));
        Assert.Equal("running", await walker.Container.StatusOnAsync(lab["b"]));

        await walker.Container.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task Hosts_do_not_see_each_other()
    {
        Bed.Require();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningCommand onA = lab["a"].Start("sleep", "4711");
        await Condition.WaitAsync(
            async () => (await lab["a"].RunAsync("ps", "ax")).Contains("sleep 4711", StringComparison.Ordinal), TimeSpan.FromSeconds(20), "sleep to run, and to be seen where it does");

        Assert.DoesNotContain("4711", await lab["b"].RunAsync("ps", "ax"), StringComparison.Ordinal);
        Assert.NotEqual(await lab["a"].RunAsync("hostname"), await lab["b"].RunAsync("hostname"));
        foreach (string name in (string[])["net", "pid", "mnt", "uts", "ipc", "time", "cgroup"])
        {
            Assert.NotEqual(await lab["a"].RunAsync("readlink", $"/proc/self/ns/{name}"), await lab["b"].RunAsync("readlink", $"/proc/self/ns/{name}"));
        }
    }

    [SkippableFact]
    public async Task What_is_left_behind_is_noticed()
    {
        Bed.Require();
        await using Lab lab = await Lab.UpAsync("a");
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 4);
        Xunit.Sdk.FailException failure = await Assert.ThrowsAsync<Xunit.Sdk.FailException>(lab.AssertNothingLeftAsync);
        Assert.Contains("container walker", failure.Message, StringComparison.Ordinal);
        Assert.Contains("process ", failure.Message, StringComparison.Ordinal);
        Assert.Contains("cgroup ", failure.Message, StringComparison.Ordinal);
        await walker.Container.RemoveFromAsync(lab["a"]);
        await lab.AssertNothingLeftAsync();
    }
}
