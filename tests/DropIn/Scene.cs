using System.Globalization;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>Who plays a role that both CRIU and postcopy can play.</summary>
public enum Player
{
    Criu,
    PostCopy,
}

/// <summary>How the program runs, and so who dumps and restores it.</summary>
public enum Kind
{
    Runc,
    Tree,
}

/// <summary>A lazy migration by hand, as CRIU's users script it: a server on host a, a lazy-pages daemon and a restore on host b.</summary>
internal sealed class Scene : IAsyncDisposable
{
    internal const int Port = 7028;
    internal static readonly TimeSpan Limit = TimeSpan.FromSeconds(90);

    private readonly SceneProgram? _program;
    private readonly Kind _kind;
    private readonly int _pid;

    private Scene(Lab lab, SceneProgram? program, int pid)
    {
        Lab = lab;
        _program = program;
        _kind = program?.Kind ?? Kind.Tree;
        _pid = pid;
        Directory.CreateDirectory(Images);
        Directory.CreateDirectory(DumpWork);
        Directory.CreateDirectory(RestoreWork);
        PipeSize.Allow();
    }

    internal Lab Lab { get; }

    internal SceneProgram Program => _program ?? throw new InvalidOperationException("this scene moves a tree of its own");

    internal string Images => $"{Lab.Shared}/images";

    internal string DumpWork => $"{Lab.Shared}/dump";

    internal string RestoreWork => $"{Lab.Shared}/restore";

    internal string PageServer => $"{Lab["a"].Address}";

    internal static async Task<Scene> SetAsync(Kind kind, int mebibytes = 32, params string[] moreHosts)
    {
        Bed.RequirePostCopy();
        Lab lab = await Lab.UpAsync(["a", "b", .. moreHosts]);
        try
        {
            SceneProgram program = await SceneProgram.StartAsync(lab, lab["a"], kind, mebibytes);
            return new Scene(lab, program, program.Pid);
        }
        catch
        {
            await lab.DisposeAsync();
            throw;
        }
    }

    /// <summary>With a tree that a test starts, which returns its root's pid.</summary>
    internal static async Task<Scene> SetAsync(Func<Lab, Task<int>> start)
    {
        Bed.RequirePostCopy();
        Lab lab = await Lab.UpAsync("a", "b");
        try
        {
            return new Scene(lab, null, await start(lab));
        }
        catch
        {
            await lab.DisposeAsync();
            throw;
        }
    }

    /// <summary>An ordinary dump on host a, with all pages in the images.</summary>
    internal Task<string> DumpWholeAsync(params string[] options) =>
        Lab["a"].RunAsync(["criu", "dump", "-t", $"{_pid}", "-D", Images, "-W", DumpWork, "-o", "dump.log", "-v4", .. options]);

    /// <summary>Dumps on host a and returns when pages are served there.</summary>
    internal Task<ReadyCommand> DumpAsync(Player server, params string[] options) => ReadyCommand.StartAsync(Lab, Lab["a"], "dump", (server, _kind) switch
    {
        (Player.Criu, Kind.Tree) =>
        [
            "criu", "dump", "-t", $"{_pid}", "--lazy-pages", "--address", PageServer, "--port", $"{Port}",
            "-D", Images, "-W", DumpWork, "-o", "dump.log", "-v4", "--status-fd", "3", .. options,
        ],
        (Player.Criu, _) =>
        [
            "runc", "checkpoint", "--lazy-pages", "--page-server", $"0.0.0.0:{Port}", "--image-path", Images, "--work-path", DumpWork, "--status-fd", "3",
            Program.ContainerId,
        ],
        (_, Kind.Tree) =>
        [
            Repository.PostCopy, "page-server", "--tree", $"{_pid}", "--address", PageServer, "--port", $"{Port}",
            "-D", Images, "-W", DumpWork, "-v3", "--status-fd", "3", .. options,
        ],
        _ =>
        [
            Repository.PostCopy, "page-server", "--runc", Program.ContainerId, "--address", PageServer, "--port", $"{Port}",
            "-D", Images, "-W", DumpWork, "-v3", "--status-fd", "3", .. options,
        ],
    });

    /// <summary>Starts a lazy-pages daemon on a host and returns when restore can connect to it.</summary>
    internal Task<ReadyCommand> LazyPagesAsync(Player daemon, bool fromServer = true, string host = "b", params string[] options)
    {
        string[] source = fromServer ? ["--page-server", "--address", PageServer, "--port", $"{Port}"] : [];
        return ReadyCommand.StartAsync(Lab, Lab[host], "lazy-pages", [
            daemon == Player.Criu ? "criu" : Repository.PostCopy, "lazy-pages", .. source,
            "-D", Images, "-W", WorkOf(host), "-v3", "--status-fd", "3", .. options,
        ]);
    }

    /// <summary>Restores a tree, and gives CRIU this action script (criu(8)) to run for each of its steps.</summary>
    internal async Task<CommandResult> RestoreWithAsync(string script)
    {
        string path = $"{Lab.Shared}/restore-action.sh";
        await File.WriteAllTextAsync(path, $"#!/bin/bash\n{script}\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return await RestoreAsync("b", "--action-script", path);
    }

    internal async Task<CommandResult> RestoreAsync(string host = "b", params string[] options)
    {
        CommandResult result = await Lab[host].TryAsync(_kind == Kind.Runc
            ? Container.DetachedRunc($"{Lab.Shared}/runc-restore-{host}.log", ["restore", "-d", "--lazy-pages", "--image-path", Images, "--work-path", WorkOf(host),
                "--bundle", Program.Bundle, Program.ContainerId])
            : ["criu", "restore", "-d", "--lazy-pages", "-D", Images, "-W", WorkOf(host), "-o", "restore.log", "-v4", .. options]);
        string log = $"{WorkOf(host)}/restore.log";
        return result.ExitCode != 0 && File.Exists(log)
            ? result with { Error = $"{result.Error}\n{string.Join('\n', File.ReadLines(log).Where(static line => line.Contains("Error (", StringComparison.Ordinal)))}" }
            : result;
    }

    internal string WorkOf(string host)
    {
        string directory = host == "b" ? RestoreWork : $"{RestoreWork}-{host}";
        Directory.CreateDirectory(directory);
        return directory;
    }

    public ValueTask DisposeAsync() => Lab.DisposeAsync();
}

/// <summary>A command that says on descriptor 3 with a zero byte that it is ready.</summary>
internal sealed class ReadyCommand : IAsyncDisposable
{
    private readonly LabHost _host;
    private readonly string _pidFile;

    private ReadyCommand(LabHost host, RunningCommand command, string pidFile)
    {
        _host = host;
        Command = command;
        _pidFile = pidFile;
    }

    internal RunningCommand Command { get; }

    internal static async Task<ReadyCommand> StartAsync(Lab lab, LabHost host, string name, string[] words)
    {
        string path = $"{lab.Shared}/{name}-{Guid.NewGuid():N}";
        RunningCommand command = host.Start(["bash", "-c",
            "mkfifo $0.status; \"$@\" 3>$0.status & echo $! >$0.pid; head -c 1 $0.status | od -An -tx1; wait $!", path, .. words]);
        ReadyCommand ready = new(host, command, $"{path}.pid");
        await command.WaitForOutputAsync(static c => c.Output.Contains("00", StringComparison.Ordinal), Scene.Limit);
        return ready;
    }

    internal Task<CommandResult> WaitAsync() => Command.WaitAsync(Scene.Limit);

    /// <summary>To the command itself, not to the shell that waits for it.</summary>
    internal async Task SignalAsync(string signal) => await _host.RunAsync("kill", $"-{signal}", $"{await PidAsync()}");

    /// <summary>Kills what the command has started and is not finished: the CRIU of a page server, the keeper of a lazy-pages daemon.</summary>
    internal async Task KillChildAsync() => await _host.RunAsync("bash", "-c", await KillingChildAsync());

    /// <summary>The same as a command of bash's.</summary>
    internal async Task<string> KillingChildAsync() => $"kill -KILL $(cat /proc/{await PidAsync()}/task/*/children)";

    private async Task<int> PidAsync()
    {
        int pid = int.Parse((await File.ReadAllTextAsync(_pidFile)).Trim(), CultureInfo.InvariantCulture);
        Assert.True(pid > 1);
        return pid;
    }

    public ValueTask DisposeAsync() => Command.DisposeAsync();
}
