using PostCopy.Linux;
using PostCopy.Sessions;

namespace PostCopy.Criu;

/// <summary>
/// What one run of CRIU has on this host: a directory on tmpfs with images, logs, configuration and the hook. Both sides have one.
/// </summary>
/// <remarks>
/// <code>
/// STATE_DIR/NAME/
///   images/     what CRIU wrote, or is to read
///   work/       CRIU's logs and its lazy-pages socket
///   runc.log    what runc printed
///   lock        held by the one process that works on the session
///   *.json      what another process needs to go on with it, and what "postcopy status" shows
///   criu.conf   CRIU's configuration
///   hook.sh     CRIU's action script, with its FIFOs events, answers and alive, and the records decision, returned, drained, asked, ran
/// </code>
/// </remarks>
internal sealed class CriuSession : IDisposable
{
    private const UnixFileMode OnlyRoot = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>Failed sessions whose logs are kept on a tmpfs: a log has a megabyte at most in practice.</summary>
    private const int MaxKeptLogs = 16;

    private readonly string _configPath;
    private readonly FileStream _lock;

    private CriuSession(string directory, bool tcpEstablished)
    {
        TcpEstablished = tcpEstablished;
        Directory = directory;
        _configPath = Path.Combine(Directory, "criu.conf");
        _lock = SessionLock.Take(directory) ?? throw new IOException($"another process works on {directory}");
        try
        {
            Hook = new CriuHook(Directory);
            RuncOutput = new ChildOutput(Path.Combine(Directory, "runc.log"));
        }
        catch
        {
            _lock.Dispose();
            throw;
        }
    }

    /// <summary>Makes the directory (0700). Throws <see cref="IOException"/> when it exists: every session has its own.</summary>
    internal static CriuSession Create(string stateDirectory, string name, bool tcpEstablished, string userConfig)
    {
        string directory = Path.Combine(stateDirectory, name);
        if (System.IO.Directory.Exists(directory))
        {
            throw new IOException($"{directory} exists already: another session has this name");
        }

        System.IO.Directory.CreateDirectory(stateDirectory, OnlyRoot);
        System.IO.Directory.CreateDirectory(directory, OnlyRoot);
        CriuSession session = new(directory, tcpEstablished);
        System.IO.Directory.CreateDirectory(session.ImageDirectory, OnlyRoot);
        System.IO.Directory.CreateDirectory(session.WorkDirectory, OnlyRoot);
        CriuConfig.Write(session._configPath, userConfig);
        return session;
    }

    /// <summary>
    /// Takes over what a process left that is dead now. Throws <see cref="IOException"/> when there is no such session, or another process works on it.
    /// </summary>
    internal static CriuSession TakeOver(string stateDirectory, string name, bool tcpEstablished)
    {
        string directory = Path.Combine(stateDirectory, name);
        return System.IO.Directory.Exists(directory)
            ? new CriuSession(directory, tcpEstablished)
            : throw new IOException($"there is no session {directory}");
    }

    internal string Directory { get; }

    /// <summary>Whether established TCP connections are dumped and restored.</summary>
    internal bool TcpEstablished { get; }

    internal string ImageDirectory => Path.Combine(Directory, "images");

    internal string WorkDirectory => Path.Combine(Directory, "work");

    internal string DumpLog => Path.Combine(WorkDirectory, "dump.log");

    internal string RestoreLog => Path.Combine(WorkDirectory, "restore.log");

    internal CriuHook Hook { get; }

    internal ChildOutput RuncOutput { get; }

    /// <summary>The environment of whoever starts CRIU.</summary>
    internal Dictionary<string, string> Environment
    {
        get
        {
            Dictionary<string, string> environment = ChildPath.Environment();
            environment["CRIU_CONFIG_FILE"] = _configPath;
            Hook.AddEnvironment(environment);
            return environment;
        }
    }

    /// <summary>Whether the user's options say how long CRIU may try to stop the tasks.</summary>
    internal bool UserLimitsStopping => CriuConfig.LimitsStopping(_configPath);

    /// <summary>From now on CRIU may try for so long to stop the tasks.</summary>
    internal void LimitStopping(TimeSpan time) => CriuConfig.LimitStopping(_configPath, time);

    /// <summary>Forgets what a dump has left that failed, so that there can be another one.</summary>
    internal void EmptyForAnotherDump()
    {
        System.IO.Directory.Delete(ImageDirectory, recursive: true);
        System.IO.Directory.CreateDirectory(ImageDirectory, OnlyRoot);
    }

    /// <summary>Where the logs are after <see cref="Delete"/> was told to keep them.</summary>
    internal string KeptLogs => Path.Combine(Path.GetDirectoryName(Directory)!, "logs", Path.GetFileName(Directory));

    /// <summary>Removes the directory with everything in it. Of a failed session the logs are kept: they hold no memory of the container.</summary>
    internal void Delete(bool keepLogs)
    {
        if (keepLogs)
        {
            System.IO.Directory.CreateDirectory(KeptLogs, OnlyRoot);
            foreach (string log in (string[])[DumpLog, RestoreLog, RuncOutput.Path])
            {
                if (File.Exists(log))
                {
                    File.Move(log, Path.Combine(KeptLogs, Path.GetFileName(log)), overwrite: true);
                }
            }

            DropOldLogs(Path.GetDirectoryName(KeptLogs)!);
        }

        MountedTree.Delete(Directory);
    }

    private static void DropOldLogs(string directory)
    {
        foreach (DirectoryInfo old in new DirectoryInfo(directory).GetDirectories().OrderByDescending(static kept => kept.CreationTimeUtc).Skip(MaxKeptLogs))
        {
            old.Delete(recursive: true);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Hook.Dispose();
        RuncOutput.Dispose();
        _lock.Dispose();
    }
}
