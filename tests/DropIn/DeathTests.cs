using System.Text.RegularExpressions;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>What must never happen: a failure that the source takes for success, or a missing page that reads as zeroes.</summary>
public sealed partial class DeathTests
{

    [SkippableTheory]
    [InlineData(Kind.Tree)]
    [InlineData(Kind.Runc)]
    public async Task Our_daemon_is_killed_in_the_drain_and_crius_dump_resumes(Kind kind)
    {
        await using SlowDrain drain = await SlowDrain.BeginAsync(kind, server: Player.Criu);
        (Scene scene, ReadyCommand dump, ReadyCommand lazyPages) = drain;
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
        await using SlowDrain drain = await SlowDrain.BeginAsync(Kind.Tree, server: Player.PostCopy);
        (Scene scene, ReadyCommand dump, ReadyCommand lazyPages) = drain;
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
        await using SlowDrain drain = await SlowDrain.BeginAsync(Kind.Tree, server: Player.PostCopy);
        (Scene scene, ReadyCommand dump, ReadyCommand lazyPages) = drain;
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
        await using SlowDrain drain = await SlowDrain.BeginAsync(kind, server: Player.PostCopy);
        (Scene scene, ReadyCommand dump, ReadyCommand lazyPages) = drain;
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
        Assert.Contains($"it runs here. To put away what is left: postcopy page-server --resume {session} --port 0", await scene.Lab["a"].RunAsync(Repository.PostCopy, "status"), StringComparison.Ordinal);
        CommandResult late = await scene.Lab["a"].TryAsync(Repository.PostCopy, "page-server", "--resume", session, "--port", "0");
        Assert.Equal(1, late.ExitCode);
        Assert.Contains("it runs on here", late.Error, StringComparison.Ordinal);
        Assert.Contains("no sessions", await scene.Lab["a"].RunAsync(Repository.PostCopy, "status"), StringComparison.Ordinal);
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
        await using SlowDrain drain = await SlowDrain.BeginAsync(Kind.Tree, server: Player.Criu);
        (Scene scene, ReadyCommand dump, ReadyCommand lazyPages) = drain;
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

    /// <summary>CRIU has handed over all memory and has not said yet that it is finished: what dies then must not make the daemon let go of tasks that run.</summary>
    [SkippableFact]
    public async Task The_keeper_dies_just_before_the_restore_is_finished_and_has_a_successor()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await using ReadyCommand dump = await scene.DumpAsync(Player.Criu);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy);
        (await scene.RestoreWithAsync($"[[ $CRTOOLS_SCRIPT_ACTION != post-restore ]] || {await lazyPages.KillingChildAsync()}")).EnsureSuccess();
        CommandResult end = (await lazyPages.WaitAsync()).EnsureSuccess();
        Assert.Contains("another one holds", end.Error, StringComparison.Ordinal);
        (await dump.WaitAsync()).EnsureSuccess();
        await scene.Program.VerifyAsync();
        scene.Program.AssertRanOn();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
    }

    [SkippableFact]
    public async Task The_server_dies_just_before_the_restore_is_finished_and_no_task_reads_zeroes()
    {
        await using Scene scene = await SlowDrain.SetAsync(Kind.Tree);
        await using ReadyCommand dump = await scene.DumpAsync(Player.Criu);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy);
        string gate = $"{scene.Lab.Shared}/gate", reached = $"{scene.Lab.Shared}/reached";
        await scene.Lab["b"].RunAsync("mkfifo", gate);
        Task<CommandResult> restoring = scene.RestoreWithAsync($"[[ $CRTOOLS_SCRIPT_ACTION != post-restore ]] || {{ : >{reached}; read <{gate}; }}; exit 0");
        await Condition.WaitAsync(() => File.Exists(reached), Scene.Limit, "CRIU's post-restore action");
        Task killing = dump.SignalAsync("KILL");
        await File.WriteAllTextAsync(gate, "go\n");
        await killing;

        bool runs = (await restoring).ExitCode == 0;
        CommandResult end = await lazyPages.WaitAsync();
        Assert.Equal(1, end.ExitCode);
        Assert.Contains(runs ? "cannot be delivered any more" : "the restore was not finished", end.Error, StringComparison.Ordinal);
        if (runs)
        {
            await AssertStalledAsync(scene);
            await RemoveFromBAsync(scene);
        }

        await scene.Program.VerifyAsync();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
        await AssertNoKeeperAsync(scene);
    }

    [SkippableFact]
    public async Task A_keeper_that_dies_in_the_drain_has_a_successor_that_holds_everything()
    {
        await using SlowDrain drain = await SlowDrain.BeginAsync(Kind.Tree, server: Player.PostCopy);
        (Scene scene, ReadyCommand dump, ReadyCommand lazyPages) = drain;
        await dump.SignalAsync("STOP");
        await lazyPages.KillChildAsync();
        await lazyPages.Command.WaitForOutputAsync(static c => c.Error.Contains("another one holds", StringComparison.Ordinal), Scene.Limit);
        await lazyPages.SignalAsync("KILL");
        await dump.SignalAsync("CONT");
        await dump.Command.WaitForOutputAsync(static c => Undecided().IsMatch(c.Error), Scene.Limit);
        await AssertStalledAsync(scene);

        await RemoveFromBAsync(scene);
        await dump.SignalAsync("USR2");
        Assert.Equal(1, (await dump.WaitAsync()).ExitCode);
        await scene.Program.VerifyAsync();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
        await AssertNoKeeperAsync(scene);
    }

    /// <summary>By the kernel for want of memory, by CRIU in its last step, by hand: then there is no copy but the source's.</summary>
    [SkippableTheory]
    [InlineData(Player.Criu)]
    [InlineData(Player.PostCopy)]
    public async Task The_copy_is_killed_in_the_drain_and_the_source_is_not_discarded(Player server)
    {
        await using SlowDrain drain = await SlowDrain.BeginAsync(Kind.Tree, server: server);
        (Scene scene, ReadyCommand dump, ReadyCommand lazyPages) = drain;
        await RemoveFromBAsync(scene);
        CommandResult end = await lazyPages.WaitAsync();
        Assert.Equal(1, end.ExitCode);
        Assert.True(end.Error.Contains("all tasks have ended", StringComparison.Ordinal), $"{end}");
        if (server == Player.PostCopy)
        {
            await dump.Command.WaitForOutputAsync(static c => Undecided().IsMatch(c.Error), Scene.Limit);
            await dump.SignalAsync("USR2");
        }

        Assert.Equal(1, (await dump.WaitAsync()).ExitCode);
        await scene.Program.VerifyAsync();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
    }

    [SkippableFact]
    public async Task Criu_dies_before_anybody_asked_and_its_images_are_given_up()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy);
        await dump.KillChildAsync();
        CommandResult end = await dump.WaitAsync();
        Assert.Equal(1, end.ExitCode);
        Assert.Contains("its images are of the past", end.Error, StringComparison.Ordinal);
        await scene.Program.WaitUntilItLivesAsync();
        await scene.Program.VerifyAsync();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
        await scene.Lab.AssertNothingLeftAsync();
    }

    /// <summary>CRIU is gone, and a client asks before the server has noticed: it waits in the queue of a server that stands still.</summary>
    [SkippableFact]
    public async Task Criu_dies_and_who_asks_then_gets_no_page_of_what_ran_on()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy);
        await dump.SignalAsync("STOP");
        await dump.KillChildAsync();
        Task<CommandResult> restoring = scene.RestoreAsync();
        await lazyPages.Command.WaitForOutputAsync(static c => c.Error.Contains("restore is connected", StringComparison.Ordinal), Scene.Limit);
        await dump.SignalAsync("CONT");
        Assert.NotEqual(0, (await restoring).ExitCode);
        Assert.Equal(1, (await lazyPages.WaitAsync()).ExitCode);
        Assert.Equal(1, (await dump.WaitAsync()).ExitCode);
        await scene.Program.WaitUntilItLivesAsync();
        await scene.Program.VerifyAsync();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
    }

    [SkippableFact]
    public async Task What_still_arrives_is_not_dumped()
    {
        await using SlowDrain drain = await SlowDrain.BeginAsync(Kind.Tree, server: Player.Criu);
        (Scene scene, ReadyCommand dump, ReadyCommand lazyPages) = drain;
        await lazyPages.SignalAsync("KILL");
        await dump.WaitAsync();
        string images = $"{scene.Lab.Shared}/images-2";
        Directory.CreateDirectory(images);
        CommandResult second = await scene.Lab["b"].TryAsync(Repository.PostCopy, "page-server", "--tree", $"{scene.Program.Pid}", "--port", "0", "-D", images);
        Assert.Equal(1, second.ExitCode);
        Assert.Contains("still arriving", second.Error, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(images));
        await RemoveFromBAsync(scene);
        await scene.Program.VerifyAsync();
    }

    [SkippableFact]
    public async Task What_is_being_moved_is_not_dumped_once_more()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy);
        CommandResult second = await scene.Lab["a"].TryAsync(Repository.PostCopy, "page-server", "--tree", $"{scene.Program.Pid}", "--port", "0", "-D", scene.DumpWork);
        Assert.Equal(1, second.ExitCode);
        Assert.Contains("is being moved already", second.Error, StringComparison.Ordinal);
        await dump.SignalAsync("TERM");
        Assert.Equal(1, (await dump.WaitAsync()).ExitCode);
        await scene.Program.WaitUntilItLivesAsync();
        await scene.Program.VerifyAsync();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
        await scene.Lab.AssertNothingLeftAsync();
    }

    /// <summary>A frozen dump has one client; one that is connected and asks for nothing is none.</summary>
    [SkippableFact]
    public async Task Who_connects_and_says_nothing_keeps_nobody_out()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy);
        await using RunningCommand mute = scene.Lab["b"].Start("bash", "-c", $"exec 5<>/dev/tcp/{scene.PageServer}/{Scene.Port} && echo up && cat <&5");
        await mute.WaitForOutputAsync(static c => c.Output.Contains("up", StringComparison.Ordinal), Scene.Limit);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy);
        (await scene.RestoreAsync()).EnsureSuccess();
        (await lazyPages.WaitAsync()).EnsureSuccess();
        (await dump.WaitAsync()).EnsureSuccess();
        await mute.WaitAsync(Scene.Limit);
        await scene.Program.VerifyAsync();
        scene.Program.AssertRanOn();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
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
