using System.Text.Json;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>On the destination a container is runc's as it was on the source: its commands work, its limits hold.</summary>
public sealed class RuncAfterwardsTests
{
    [SkippableFact]
    public async Task Runcs_commands_work_as_before_and_limits_hold()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 16, configure: static bundle => Bundle.LimitMemoryAsync(bundle, mebibytes: 64));
        string settings = await CgroupSettingsAsync(lab["a"]);
        Assert.Contains($"{64 << 20}", settings, StringComparison.Ordinal);
        JsonElement before = await StateAsync(lab["a"]);
        (await Migration.RunAsync(lab, lab["a"], walker.Container, agent)).Expect(ExitCode.Moved, "moved");
        await walker.WaitUntilItLivesAsync();

        JsonElement after = await StateAsync(lab["b"]);
        foreach (string name in (ReadOnlySpan<string>)["id", "status", "bundle", "rootfs", "ociVersion"])
        {
            Assert.Equal($"{before.GetProperty(name)}", $"{after.GetProperty(name)}");
        }

        Assert.Equal(settings, await CgroupSettingsAsync(lab["b"]));
        Assert.Contains("running", await lab["b"].RunAsync("runc", "list"), StringComparison.Ordinal);
        Assert.Equal("b", (await lab["b"].RunAsync("runc", "exec", "walker", "/bin/cat", "/etc/postcopy-host")).Trim());
        Assert.Contains("/bin/walker", await lab["b"].RunAsync("runc", "ps", "walker"), StringComparison.Ordinal);
        Assert.Contains("\"type\":\"stats\"", await lab["b"].RunAsync("runc", "events", "--stats", "walker"), StringComparison.Ordinal);
        await lab["b"].RunAsync("runc", "pause", "walker");
        Assert.Equal("paused", await walker.Container.StatusOnAsync(lab["b"]));
        await lab["b"].RunAsync("runc", "resume", "walker");
        await walker.VerifyAsync();

        await lab["b"].RunAsync("runc", "kill", "walker", "KILL");
        await Condition.WaitAsync(async () => await walker.Container.StatusOnAsync(lab["b"]) == "stopped", TimeSpan.FromSeconds(20), "the container to be stopped");
        await lab["b"].RunAsync("runc", "delete", "walker");
        Assert.Null(await walker.Container.StatusOnAsync(lab["b"]));
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    private static async Task<JsonElement> StateAsync(LabHost host) => JsonDocument.Parse(await host.RunAsync("runc", "state", "walker")).RootElement;

    /// <summary>What its cgroups limit, of v1 or v2.</summary>
    private static Task<string> CgroupSettingsAsync(LabHost host) => host.RunAsync(
        "sh", "-c", "cd /sys/fs/cgroup; for f in memory/walker/memory.limit_in_bytes memory/walker/memory.oom_control pids/walker/pids.max devices/walker/devices.list walker/memory.max; do [ -e $f ] && grep -v under_oom $f | sed \"s|^|$f |\"; done; true");
}
