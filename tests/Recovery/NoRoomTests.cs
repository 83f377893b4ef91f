using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>A host has no room: for the state of a session, or for the container's memory.</summary>
public sealed class NoRoomTests
{
    private const string StateDirectory = "/run/postcopy";

    [SkippableTheory]
    [InlineData("16k")] // Not even the session's own files.
    [InlineData("160k")] // Those, and not the images.
    public async Task Images_that_do_not_fit_there_leave_the_container_here(string size)
    {
        await using Scene scene = await Scene.StartAsync(lab => lab["b"].MountTmpfsAsync(StateDirectory, size));
        scene.StartMigration();
        MigrationResult result = await scene.Migration.WaitAsync();
        Assert.True(result.ExitCode is ExitCode.Cannot or ExitCode.RolledBack && result.Error.Contains("space", StringComparison.OrdinalIgnoreCase), $"{result.Command}");
        await scene.ExpectRolledBackAsync();
    }

    [SkippableFact]
    public async Task Images_that_do_not_fit_here_leave_the_container_here()
    {
        await using Scene scene = await Scene.StartAsync(lab => lab["a"].MountTmpfsAsync(StateDirectory, "64k"));
        scene.StartMigration();
        (await scene.Migration.WaitAsync()).Expect(ExitCode.RolledBack, "rolled-back");
        await scene.ExpectRolledBackAsync();
    }

    [SkippableFact]
    public async Task A_state_directory_that_fills_up_in_the_drain_stops_nothing()
    {
        await using Scene scene = await Scene.StartAsync(async lab =>
        {
            await lab["a"].MountTmpfsAsync(StateDirectory, "8m");
            await lab["b"].MountTmpfsAsync(StateDirectory, "8m");
        });
        await scene.DrainSlowlyAsync();
        foreach (string host in (string[])["a", "b"])
        {
            await scene.Lab[host].TryAsync("sh", "-c", $"dd if=/dev/zero of={StateDirectory}/full bs=4k; df {StateDirectory} | grep -q 100%");
        }

        await scene.WaitAWhileAsync();
        await scene.ExpectMovedAsync();
    }

    /// <summary>The kernel ends the container there, in the middle of the drain: nothing is owed any more, and the frozen copy does not run instead.</summary>
    [SkippableFact]
    public async Task A_container_that_is_killed_for_want_of_memory_in_the_drain_is_gone()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await Condition.WaitAsync(() => scene.Walker.ReadLog()[^1].Host == "b", TimeSpan.FromSeconds(20), "a sign of life from the destination");
        // Of cgroup v2 or v1, whichever limits memory; never of the root.
        await scene.Lab["b"].RunAsync("bash", "-c", """
            pid=$(runc state walker | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
            group=$(sed -n 's/^[0-9]*:\(.*,\)\?memory\(,.*\)\?://p' /proc/"$pid"/cgroup)
            file=/sys/fs/cgroup/memory$group/memory.limit_in_bytes
            if [[ -z $group ]]; then group=$(sed -n 's/^0:://p' /proc/"$pid"/cgroup); file=/sys/fs/cgroup$group/memory.max; fi
            [[ $group == /?* ]] && echo 32M >"$file"
            """);
        await scene.UnlimitRateAsync();
        (await scene.Migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        await Condition.WaitAsync(async () => await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]) == "stopped", TimeSpan.FromSeconds(30), "the container's end");
        Assert.Null(await scene.Walker.Container.StatusOnAsync(scene.Lab["a"]));
        scene.Walker.AssertNothingBadWasSeen();
        scene.Walker.AssertRanOn("a", "b");
        await scene.Agent.DisposeAsync();
        await scene.Walker.Container.RemoveFromAsync(scene.Lab["b"]);
        await scene.Lab.AssertNothingLeftAsync();
    }
}
