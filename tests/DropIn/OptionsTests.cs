using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>CRIU's options and configuration files, in the ways that users write them.</summary>
public sealed class OptionsTests
{
    [SkippableFact]
    public async Task One_configuration_file_is_for_criu_and_for_us()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        string config = $"{scene.Lab.Shared}/criu.conf";
        string[] tls = TlsTests.MakeCertificates(scene.Lab.Shared, scene.PageServer);
        await File.WriteAllLinesAsync(config,
        [
            "# for every command of CRIU",
            "tcp-established",
            "ghost-limit 2M  # an option of the dump's",
            "tls",
            $"tls-cacert {tls[2]}",
            $"tls-cert \"{tls[4]}\"",
            $"\ttls-key {tls[6]} # secret",
            "tls-no-cn-verify",
            "port 1",
        ]);
        // The command line wins: nobody is at port 1.
        await using ReadyCommand dump = await scene.DumpAsync(Player.Criu, "--config", config);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy, options: ["--config", config]);
        (await scene.RestoreAsync()).EnsureSuccess();
        (await lazyPages.WaitAsync()).EnsureSuccess();
        (await dump.WaitAsync()).EnsureSuccess();
        await scene.Program.VerifyAsync();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
    }

    /// <summary>In the background as well: the descriptor goes along.</summary>
    [SkippableTheory]
    [InlineData(Player.Criu)]
    [InlineData(Player.PostCopy)]
    public async Task A_connection_that_is_open_already_is_used(Player server)
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await using ReadyCommand dump = await scene.DumpAsync(server);
        string log = $"{scene.RestoreWork}/daemon.log";
        await scene.Lab["b"].RunAsync("bash", "-c", "exec 5<>/dev/tcp/$1/$2 && exec \"$0\" lazy-pages --page-server --ps-socket 5 -D \"$3\" -W \"$4\" -dv3 -o daemon.log </dev/null >/dev/null 2>&1",
            Repository.PostCopy, scene.PageServer, $"{Scene.Port}", scene.Images, scene.RestoreWork);
        (await scene.RestoreAsync()).EnsureSuccess();
        (await dump.WaitAsync()).EnsureSuccess();
        await scene.Program.VerifyAsync();
        Assert.Contains("from descriptor 4", await File.ReadAllTextAsync(log), StringComparison.Ordinal);
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
        await scene.Lab.AssertNothingLeftAsync();
    }

    [SkippableTheory]
    [InlineData("--no-such-thing", "--no-such-thing: this command has no such option")]
    [InlineData("-x", "-x: this command has no such option")]
    [InlineData("--tls-c x", "--tls-c: this command has no such option")]
    [InlineData("--port", "--port needs a value")]
    [InlineData("-d=1", "-=: this command has no such option")]
    [InlineData("--page-server", "--page-server needs --address")]
    [InlineData("word", "'word' is no option")]
    [InlineData("--config /nowhere", "/nowhere")]
    public async Task What_is_not_known_is_named(string options, string message)
    {
        Bed.RequirePostCopy();
        CommandResult result = await RunningCommand.RunAsync(Scene.Limit, Repository.PostCopy, ["lazy-pages", "--no-default-config", .. options.Split(' ')]);
        Assert.Equal(1, result.ExitCode);
        Assert.Contains(message, result.Error, StringComparison.Ordinal);
    }

    /// <summary>A name cut short, a value behind '=', the short form with its value, and what has no effect here: all as getopt_long(3) and CRIU take them.</summary>
    [SkippableFact]
    public async Task Options_are_written_as_users_write_them()
    {
        Bed.RequirePostCopy();
        string directory = Directory.CreateTempSubdirectory("postcopy-options-test-").FullName;
        try
        {
            CommandResult result = await RunningCommand.RunAsync(Scene.Limit, Repository.PostCopy,
                "lazy-pages", "--auto-dedup", $"-D{directory}", "--work=" + directory, "--verbosity=4", "-vv", "--no-default-config", "-olog");
            Assert.Equal(1, result.ExitCode);
            string log = await File.ReadAllTextAsync($"{directory}/log");
            Assert.Contains("--auto-dedup has no effect", log, StringComparison.Ordinal);
            Assert.Contains($"{directory}: not a directory of CRIU images", log, StringComparison.Ordinal);

            // In the background, without a word of where to log.
            result = await RunningCommand.RunAsync(Scene.Limit, Repository.PostCopy, "lazy-pages", "-D", directory, "--no-default-config", "-d");
            Assert.Equal(1, result.ExitCode);
            Assert.Contains($"{directory}: not a directory of CRIU images", result.Error, StringComparison.Ordinal);
            Assert.Contains($"{directory}/lazy-pages.log", result.Error, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }
}
