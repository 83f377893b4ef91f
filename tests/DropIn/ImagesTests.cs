using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>Lazy restores of a plain dump's images: from the disk, and from a page server to several hosts at once.</summary>
public sealed class ImagesTests
{
    [SkippableFact]
    public async Task Pages_come_from_the_images_themselves()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await scene.DumpWholeAsync();
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy, fromServer: false);
        (await scene.RestoreAsync()).EnsureSuccess();

        await scene.Program.VerifyAsync();
        (await lazyPages.WaitAsync()).EnsureSuccess();
        scene.Program.AssertRanOn();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
        await scene.Lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_restore_from_images_that_fails_is_said_to_have_failed_and_nothing_else()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await scene.DumpWholeAsync();
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy, fromServer: false);
        Assert.NotEqual(0, (await scene.RestoreWithAsync("[[ $CRTOOLS_SCRIPT_ACTION != post-restore ]]")).ExitCode);
        CommandResult end = await lazyPages.WaitAsync();
        Assert.Equal(1, end.ExitCode);
        Assert.Contains("the restore was not finished", end.Error.Trim().Split('\n')[^1], StringComparison.Ordinal);
        await scene.Lab.AssertNothingLeftAsync();
    }

    /// <summary>Whoever comes when, and with whichever daemon: each gets every page.</summary>
    [SkippableFact]
    public async Task One_server_feeds_four_restores_at_once_and_one_later()
    {
        string[] hosts = ["b", "c", "d", "e", "f"];
        await using Scene scene = await Scene.SetAsync(Kind.Tree, mebibytes: 64, hosts[1..]);
        await scene.DumpWholeAsync();
        await using ReadyCommand server = await ReadyCommand.StartAsync(scene.Lab, scene.Lab["a"], "server",
            [Repository.PostCopy, "page-server", "--lazy-pages", "--address", scene.PageServer, "--port", $"{Scene.Port}", "-D", scene.Images, "-v3", "--status-fd=3"]);
        await Task.WhenAll(hosts[..4].Select((host, i) => RestoreOnAsync(scene, i % 2 == 0 ? Player.Criu : Player.PostCopy, host)));
        await RestoreOnAsync(scene, Player.PostCopy, hosts[4]);
        foreach (string host in hosts)
        {
            await scene.Lab[host].RunAsync("kill", "-CONT", $"{scene.Program.Pid}");
            await scene.Program.VerifyAsync();
            await scene.Lab[host].RunAsync("kill", "-KILL", $"{scene.Program.Pid}");
        }

        await server.SignalAsync("TERM");
        CommandResult served = (await server.WaitAsync()).EnsureSuccess();
        Assert.Equal(hosts.Length, served.Error.Split("has fetched every page and closed").Length - 1);
    }

    private static async Task RestoreOnAsync(Scene scene, Player player, string host)
    {
        await using ReadyCommand daemon = await scene.LazyPagesAsync(player, host: host);
        (await scene.RestoreAsync(host)).EnsureSuccess();
        (await daemon.WaitAsync()).EnsureSuccess();
        // All copies share a command file: one at a time is asked.
        await scene.Lab[host].RunAsync("kill", "-STOP", $"{scene.Program.Pid}");
    }

    [SkippableFact]
    public async Task A_lazy_dumps_images_alone_are_refused_with_the_reason()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy);
        CommandResult daemon = await scene.Lab["b"].TryAsync(Repository.PostCopy, "lazy-pages", "-D", scene.Images, "-W", scene.RestoreWork);
        Assert.Equal(1, daemon.ExitCode);
        Assert.Contains("--page-server", daemon.Error, StringComparison.Ordinal);
        CommandResult server = await scene.Lab["a"].TryAsync(Repository.PostCopy, "page-server", "-D", scene.Images, "--port", "0");
        Assert.Equal(1, server.ExitCode);
        Assert.Contains("nothing here to serve", server.Error, StringComparison.Ordinal);

        // Nobody has fetched anything: the dump is undone.
        await dump.SignalAsync("TERM");
        Assert.Equal(1, (await dump.WaitAsync()).ExitCode);
        await scene.Program.WaitUntilItLivesAsync();
        await scene.Program.VerifyAsync();
        scene.Program.AssertRanOn();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
    }
}
