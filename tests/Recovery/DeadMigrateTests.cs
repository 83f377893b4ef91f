using System.Text.Json;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>The source's process dies: before the hand-off the container runs on there, after it another process takes over.</summary>
public sealed class DeadMigrateTests
{
    [SkippableFact]
    public async Task Killed_in_the_drain_another_process_serves_on()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await scene.KillMigrateAsync();
        await scene.WaitAWhileAsync();

        JsonElement session = Assert.Single(await scene.StatusAsync("a"));
        Assert.Equal("handed-off", session.GetProperty("state").GetString());
        Assert.Equal(0, session.GetProperty("pid").GetInt32());
        string name = session.GetProperty("session").GetString()!;
        Assert.Contains($"--resume {name}", session.GetProperty("waitsFor").GetString(), StringComparison.Ordinal);
        JsonElement there = Assert.Single(await scene.StatusAsync("b"));
        Assert.Equal((name, "running"), (there.GetProperty("session").GetString(), there.GetProperty("state").GetString()));
        Assert.True(there.GetProperty("pagesOwed").GetInt64() > 0);

        // Neither may the container be migrated again meanwhile, nor run here.
        await using Migration again = Migration.Start(scene.Lab, scene.Lab["a"], "walker", scene.Agent.Endpoint, scene.Agent.TokenFile);
        Assert.Equal(ExitCode.Cannot, (await again.WaitAsync()).ExitCode);
        CommandResult aborted = await scene.AbortAsync(name);
        Assert.True(aborted.ExitCode == ExitCode.HandedOff && aborted.Error.Contains("--resume", StringComparison.Ordinal), $"{aborted}");

        await scene.ResumeAsync(name);
        await scene.ExpectMovedAsync();
        Assert.Empty(await scene.StatusAsync("a"));
    }

    [SkippableFact]
    public async Task Left_while_it_was_stalled_it_can_be_resumed_and_only_once()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await scene.Lab["b"].RunAsync("ss", "-K", "sport", "=", ":7077");
        await scene.Lab["b"].CutAsync();
        await scene.WaitForPhaseAsync("stalled");
        await scene.Migration.Process.SignalAsync("INT");
        MigrationReport report = (await scene.Migration.WaitAsync()).Expect(ExitCode.HandedOff, "handed-off");
        Assert.Contains(report.Errors, error => error.Contains($"--resume {report.Session}", StringComparison.Ordinal));

        await scene.ResumeAsync(report.Session);
        await scene.WaitForPhaseAsync("stalled");
        CommandResult second = await scene.Lab["a"].TryAsync(Repository.PostCopy, "migrate", "--resume", report.Session);
        Assert.True(second.ExitCode == ExitCode.Usage && second.Error.Contains("another process", StringComparison.Ordinal), $"{second}");

        await scene.Lab["b"].MendAsync();
        await scene.ExpectMovedAsync();
    }

    /// <summary>While it sends images: <see cref="A_dead_attempt_is_in_nobodys_way"/>.</summary>
    [SkippableTheory]
    [InlineData("pre-dump")]
    [InlineData("pre-restore")]
    public async Task Killed_before_the_hand_off_the_container_runs_on(string heldAt)
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.StartHeldAsync(heldAt);
        await scene.KillMigrateAsync();
        scene.LetGo();
        await scene.Walker.WaitUntilItLivesAsync();
        foreach (JsonElement left in await scene.StatusAsync("a"))
        {
            CommandResult aborted = await scene.AbortAsync(left.GetProperty("session").GetString()!);
            Assert.True(aborted.ExitCode == ExitCode.RolledBack, $"{aborted}");
        }

        await scene.ExpectRolledBackAsync();
    }

    /// <summary>Progress, report and errors cannot be written, as where the log's file system is full: that says nothing about where the container may run.</summary>
    [SkippableFact]
    public async Task Moved_is_moved_though_nobody_can_be_told()
    {
        await using Scene scene = await Scene.StartAsync();
        CommandResult result = await scene.Lab["a"].TryAsync(
        [
            "bash", "-c", "exec \"$@\" >/dev/full 2>/dev/full", "bash", Repository.PostCopy, "migrate", "runc", scene.Walker.Container.Id, "--to", scene.Agent.Endpoint,
            "--token-file", scene.Agent.TokenFile, "--report", "/dev/full", "--json", .. RunningAgent.Security([]),
        ]);
        Assert.True(result.ExitCode == ExitCode.Moved, $"{result}");
        await scene.ExpectWholeOnDestinationAsync();
    }

    /// <summary>Behind the hand-off, where whoever fails and puts its session away lets two copies run.</summary>
    [SkippableFact]
    public async Task A_log_that_fills_up_in_the_drain_ends_nothing()
    {
        const string log = "/run/migrate-log";
        await using Scene scene = await Scene.StartAsync(static lab => lab["a"].MountTmpfsAsync(log, "16k"));
        await scene.LimitRateAsync(8);
        await using RunningCommand migration = scene.Lab["a"].Start(
        [
            "bash", "-c", $"exec \"$@\" 2>>{log}/log", "bash", Repository.PostCopy, "migrate", "runc", scene.Walker.Container.Id, "--to", scene.Agent.Endpoint,
            "--token-file", scene.Agent.TokenFile, .. RunningAgent.Security([]),
        ]);
        await Condition.WaitAsync(
            () => File.Exists($"{scene.Lab["a"].Root}{log}/log") && File.ReadAllText($"{scene.Lab["a"].Root}{log}/log").Contains("memory follows", StringComparison.Ordinal), TimeSpan.FromSeconds(60), "the drain");
        // To the end of its last page, and no further page is left.
        await scene.Lab["a"].RunAsync("bash", "-c", $"head -c $((4096 - $(stat -c %s {log}/log) % 4096)) /dev/zero >>{log}/log; ! cat /dev/zero >{log}/rest");
        await scene.UnlimitRateAsync();
        CommandResult result = await migration.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.True(result.ExitCode == ExitCode.Moved, $"{result}");
        await scene.ExpectWholeOnDestinationAsync();
    }

    [SkippableFact]
    public async Task A_dead_attempt_is_in_nobodys_way()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.StartHeldAsync("pre-dump");
        // A minute for the images.
        await scene.Lab["a"].RunAsync("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", "64kbit", "burst", "8kb", "latency", "50ms");
        scene.LetGo();
        await scene.WaitForPhaseAsync("sending images");
        await scene.KillMigrateAsync();
        await scene.Walker.WaitUntilItLivesAsync();
        await scene.UnlimitRateAsync();
        await Condition.WaitAsync(
            async () => await scene.Lab["a"].SignalAsync("0", "runc checkpoint") == 0, TimeSpan.FromSeconds(60), "the roll-back to end");
        await Condition.WaitAsync(async () => await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]) is null, TimeSpan.FromSeconds(60), "the agent to give up");
        scene.StartMigration();
        await scene.ExpectMovedAsync();
    }

    [SkippableFact]
    public async Task A_lost_destination_gives_the_container_back_only_by_an_operators_word()
    {
        await using Scene scene = await Scene.StartAsync();
        long linesAtFreeze = 0;
        await scene.DrainSlowlyAsync();
        linesAtFreeze = scene.Walker.ReadLog().FindLastIndex(line => line.Host == "a");
        await scene.KillMigrateAsync();
        string name = Assert.Single(await scene.StatusAsync("a")).GetProperty("session").GetString()!;

        CommandResult refused = await scene.AbortAsync(name, "--destination-is-dead");
        Assert.True(refused.ExitCode == ExitCode.HandedOff && refused.Error.Contains("is not dead", StringComparison.Ordinal), $"{refused}");

        // Nor does a refusal of our own prove anything.
        File.SetUnixFileMode(scene.Agent.TokenFile, UnixFileMode.UserRead | UnixFileMode.OtherRead);
        CommandResult unasked = await scene.AbortAsync(name, "--destination-is-dead");
        Assert.True(unasked.ExitCode == ExitCode.HandedOff && unasked.Error.Contains("whether the destination is dead cannot be said", StringComparison.Ordinal), $"{unasked}");
        File.SetUnixFileMode(scene.Agent.TokenFile, UnixFileMode.UserRead | UnixFileMode.UserWrite);

        // Host b dies with everything on it.
        await scene.Lab["b"].SignalAsync("KILL", "postcopy agent");
        await scene.Walker.Container.RemoveFromAsync(scene.Lab["b"]);
        int lines = scene.Walker.ReadLog().Count;
        CommandResult aborted = await scene.AbortAsync(name, "--destination-is-dead");
        Assert.True(aborted.ExitCode == ExitCode.RolledBack, $"{aborted}");

        await scene.Walker.WaitUntilItLivesAsync();
        await scene.Walker.VerifyAsync();
        List<ProgramLogLine> log = scene.Walker.ReadLog();
        Assert.Equal(("a", linesAtFreeze + 1), (log[lines].Host, log[lines].Sequence));
        CommandResult late = await scene.Lab["a"].TryAsync(Repository.PostCopy, "migrate", "--resume", name);
        Assert.Equal(ExitCode.Usage, late.ExitCode);
        await scene.Walker.Container.RemoveFromAsync(scene.Lab["a"]);
    }
}
