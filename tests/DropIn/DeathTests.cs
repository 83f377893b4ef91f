using System.Text.RegularExpressions;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>What must never happen: a failure that the source takes for success, or a missing page that reads as zeroes.</summary>
public sealed partial class DeathTests
{
    /// <summary>Large enough that the drain is not over before the daemon is stopped.</summary>
    private const int Mebibytes = 384;

    [SkippableTheory]
    [InlineData(Kind.Tree)]
    [InlineData(Kind.Runc)]
    public async Task Our_daemon_is_killed_in_the_drain_and_crius_dump_resumes(Kind kind)
    {
        await using Scene scene = await Scene.SetAsync(kind, Mebibytes);
        await using ReadyCommand dump = await scene.DumpAsync(Player.Criu);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy);
        (await scene.RestoreAsync()).EnsureSuccess();
        await lazyPages.SignalAsync("KILL");

        // A FIN would have killed the tasks, and the dump would have ended with 0.
        Assert.Equal(1, (await dump.WaitAsync()).ExitCode);
        await AssertStalledAsync(scene);
        await RemoveFromBAsync(scene);
        await scene.Program.VerifyAsync();
    }

    [SkippableFact]
    public async Task Our_daemon_is_killed_and_our_server_stays_frozen()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree, Mebibytes);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy);
        (await scene.RestoreAsync()).EnsureSuccess();
        await lazyPages.SignalAsync("KILL");
        await dump.Command.WaitForOutputAsync(static c => Undecided().IsMatch(c.Error), Scene.Limit);
        // A polite end is refused, too: only the operator knows which copy is right.
        await dump.SignalAsync("TERM");
        Assert.False(dump.Command.HasExited);

        await RemoveFromBAsync(scene);
        await dump.SignalAsync("USR2");
        Assert.Equal(1, (await dump.WaitAsync()).ExitCode);
        await scene.Program.VerifyAsync();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
    }

    [SkippableFact]
    public async Task The_operator_knows_that_it_runs_there_and_the_frozen_copy_is_discarded()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree, Mebibytes);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy);
        (await scene.RestoreAsync()).EnsureSuccess();
        await lazyPages.SignalAsync("KILL");
        await dump.Command.WaitForOutputAsync(static c => Undecided().IsMatch(c.Error), Scene.Limit);
        await dump.SignalAsync("USR1");
        (await dump.WaitAsync()).EnsureSuccess();
        Assert.NotEqual(0, (await scene.Lab["a"].TryAsync("kill", "-0", $"{scene.Program.Pid}")).ExitCode);
        await RemoveFromBAsync(scene);
        await scene.Lab.AssertNothingLeftAsync();
    }

    /// <summary>Killed in the drain: the tasks stay frozen, and whoever takes over decides about them.</summary>
    [SkippableTheory]
    [InlineData(Kind.Tree, "USR2")]
    [InlineData(Kind.Runc, "USR2")]
    [InlineData(Kind.Tree, "USR1")]
    [InlineData(Kind.Runc, "USR1")]
    public async Task Our_server_is_killed_in_the_drain_and_another_goes_on(Kind kind, string decision)
    {
        await using Scene scene = await Scene.SetAsync(kind, Mebibytes);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy);
        (await scene.RestoreAsync()).EnsureSuccess();
        await dump.SignalAsync("KILL");
        string session = Session().Match(dump.Command.Error).Groups[1].Value;
        Assert.Equal(1, (await lazyPages.WaitAsync()).ExitCode);
        await RemoveFromBAsync(scene);
        int lines = scene.Program.LogLines;

        await using ReadyCommand next = await ReadyCommand.StartAsync(scene.Lab, scene.Lab["a"], "next",
            [Repository.PostCopy, "page-server", "--resume", session, "--port", "0", "-v3", "--status-fd", "3"]);
        await next.SignalAsync("TERM");
        await next.Command.WaitForOutputAsync(static c => Undecided().IsMatch(c.Error), Scene.Limit);
        Assert.Equal(lines, scene.Program.LogLines);
        await next.SignalAsync(decision);
        Assert.Equal(decision == "USR1" ? 0 : 1, (await next.WaitAsync()).ExitCode);
        if (decision == "USR1")
        {
            Assert.Null(kind == Kind.Tree ? null : await new Container(scene.Program.ContainerId, scene.Program.Bundle).StatusOnAsync(scene.Lab["a"]));
            await scene.Lab.AssertNothingLeftAsync();
        }
        else
        {
            await scene.Program.VerifyAsync();
            Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
        }
    }

    [SkippableFact]
    public async Task Our_server_is_killed_before_anybody_asked_and_the_tasks_run_on()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy);
        string session = Session().Match(dump.Command.Error).Groups[1].Value;
        await dump.SignalAsync("KILL");
        await scene.Program.WaitUntilItLivesAsync();
        await scene.Program.VerifyAsync();
        scene.Program.AssertRanOn();
        CommandResult late = await scene.Lab["a"].TryAsync(Repository.PostCopy, "page-server", "--resume", session, "--port", "0");
        Assert.Equal(1, late.ExitCode);
        Assert.Contains("it runs on here", late.Error, StringComparison.Ordinal);
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
        await scene.Lab.AssertNothingLeftAsync();
    }

    [SkippableTheory]
    [InlineData(Player.Criu)]
    [InlineData(Player.PostCopy)]
    public async Task The_restore_fails_and_the_source_is_not_discarded(Player daemon)
    {
        await using Scene scene = await Scene.SetAsync(Kind.Runc);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(daemon);
        // A bundle whose root is gone: runc restore fails; criu lazy-pages says CLOSE all the same.
        Directory.Move($"{scene.Program.Bundle}/rootfs", $"{scene.Program.Bundle}/gone");
        Assert.NotEqual(0, (await scene.RestoreAsync()).ExitCode);
        if (!lazyPages.Command.HasExited)
        {
            await lazyPages.SignalAsync("TERM");
        }

        Assert.NotEqual(0, (await lazyPages.WaitAsync()).ExitCode);
        Assert.False(dump.Command.HasExited);
        await dump.SignalAsync(dump.Command.Error.Contains("Decide", StringComparison.Ordinal) ? "USR2" : "TERM");
        Assert.Equal(1, (await dump.WaitAsync()).ExitCode);
        await scene.Program.WaitUntilItLivesAsync();
        await scene.Program.VerifyAsync();
        scene.Program.AssertRanOn();
        Assert.Equal("running", await new Container(scene.Program.ContainerId, scene.Program.Bundle).StatusOnAsync(scene.Lab["a"]));
    }

    [SkippableFact]
    public async Task The_server_dies_and_tasks_wait_instead_of_reading_zeroes()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree, Mebibytes);
        await using ReadyCommand dump = await scene.DumpAsync(Player.Criu);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy);
        (await scene.RestoreAsync()).EnsureSuccess();
        await dump.SignalAsync("KILL");
        await dump.WaitAsync();

        CommandResult end = await lazyPages.WaitAsync();
        Assert.Equal(1, end.ExitCode);
        Assert.Contains("cannot be delivered any more", end.Error, StringComparison.Ordinal);
        await RemoveFromBAsync(scene);
        await scene.Program.VerifyAsync();
        // The keeper is let go by the end of the last task it holds memory for.
        await AssertNoKeeperAsync(scene);
    }

    private static async Task AssertStalledAsync(Scene scene)
    {
        // The copy on b shares the command file with the one that resumed on a; its threads hang in page faults, which /proc shows.
        string stacks = await scene.Lab["b"].RunAsync("bash", "-c", "for t in /proc/[0-9]*/task/*/stack; do grep -l handle_userfault $t 2>/dev/null; done; true");
        Assert.NotEmpty(stacks.Trim());
    }

    private static async Task RemoveFromBAsync(Scene scene)
    {
        if (scene.Program.Kind == Kind.Runc)
        {
            await new Container(scene.Program.ContainerId, scene.Program.Bundle).RemoveFromAsync(scene.Lab["b"]);
        }
        else
        {
            await scene.Lab["b"].RunAsync("kill", "-KILL", $"{scene.Program.Pid}");
        }
    }

    private static async Task AssertNoKeeperAsync(Scene scene)
    {
        string keepers = "?";
        for (int attempt = 0; attempt < 30 && keepers.Length > 0; attempt++)
        {
            // It looks once a second.
            keepers = (await scene.Lab["b"].RunAsync("bash", "-c", "sleep 0.2; grep -lz keeper /proc/[0-9]*/cmdline 2>/dev/null | xargs -r grep -L bash; true")).Trim();
        }

        Assert.Equal("", keepers);
    }

    [GeneratedRegex("were never fetched, so it is not known")]
    private static partial Regex Undecided();

    [GeneratedRegex(@"go on with --resume (\S+)")]
    private static partial Regex Session();
}
