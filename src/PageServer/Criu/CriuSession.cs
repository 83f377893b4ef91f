using PostCopy.Linux;

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
///   criu.conf   CRIU's configuration
///   hook.sh     CRIU's action script, with its FIFOs events and answers, and the records decision, returned, ran
/// </code>
/// </remarks>
internal sealed class CriuSession : IDisposable
{
    private const UnixFileMode OnlyRoot = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    /// <summary>Failed sessions whose logs are kept on a tmpfs: a log has a megabyte at most in practice.</summary>
    private const int MaxKeptLogs = 16;

    private readonly string _configPath;

    /// <summary>Makes the directory (0700). Throws <see cref="IOException"/> when it exists: every session has its own.</summary>
    internal CriuSession(string stateDirectory, string name, bool tcpEstablished, string userConfig)
    {
        TcpEstablished = tcpEstablished;
        Directory = Path.Combine(stateDirectory, name);
        if (System.IO.Directory.Exists(Directory))
        {
            throw new IOException($"{Directory} exists already: another session has this name");
        }

        System.IO.Directory.CreateDirectory(stateDirectory, OnlyRoot);
        System.IO.Directory.CreateDirectory(Directory, OnlyRoot);
        System.IO.Directory.CreateDirectory(ImageDirectory, OnlyRoot);
        System.IO.Directory.CreateDirectory(WorkDirectory, OnlyRoot);
        Hook = new CriuHook(Directory);
        RuncOutput = new ChildOutput(Path.Combine(Directory, "runc.log"));
        _configPath = Path.Combine(Directory, "criu.conf");
        CriuConfig.Write(_configPath, userConfig);
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

        System.IO.Directory.Delete(Directory, recursive: true);
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
    }
}
