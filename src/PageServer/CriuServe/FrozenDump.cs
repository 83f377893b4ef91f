using System.Globalization;
using System.Net;
using System.Net.Sockets;
using PostCopy.Criu;
using PostCopy.Linux;
using PostCopy.Pages;
using PostCopy.Runc;
using PostCopy.Sessions;

namespace PostCopy.CriuServe;

/// <summary>
/// A lazy dump held at CRIU's <c>post-dump</c> action: images complete, tasks frozen, and CRIU's own page server, which takes a FIN for success,
/// never listens. From here the tasks either run on or are discarded; nothing else ends it.
/// </summary>
internal sealed class FrozenDump : IDisposable
{
    private const string HandedOffWord = "handed-off";
    private static readonly TimeSpan EndDeadline = TimeSpan.FromSeconds(60);

    private readonly DumpRequest _request;
    private readonly CriuSession _criu;
    private readonly ProcessIdentity _dump;
    private readonly Func<CancellationToken, Task> _waitForDump;
    private readonly string _imageDirectory;
    private readonly string _dumpLog;
    private FreezerCgroup? _freezer;
    private HoldCgroup? _hold;
    private NetworkLock? _networkLock;
    private ProcessPageSource? _source;
    private bool _failed;
    private bool _over;

    private FrozenDump(DumpRequest request, CriuSession criu, ProcessIdentity dump, Func<CancellationToken, Task> waitForDump, string imageDirectory, string dumpLog)
    {
        _request = request;
        _criu = criu;
        _dump = dump;
        _waitForDump = waitForDump;
        _imageDirectory = imageDirectory;
        _dumpLog = dumpLog;
    }

    internal IPageSource Source => _source!;

    internal string ImageDirectory => _imageDirectory;

    /// <summary>By which another process can go on with it (<see cref="TakeOverAsync"/>).</summary>
    internal string Session => Path.GetFileName(_criu.Directory);

    /// <summary>For messages.</summary>
    internal string Name => NameOf(_request);

    /// <summary>True once a client may have restored the tasks from these pages: then the copy here must not run by itself any more.</summary>
    internal bool IsHandedOff { get; private set; }

    internal static async Task<FrozenDump> StartAsync(DumpRequest request, string imageDirectory, string workDirectory, string stateDirectory, CancellationToken cancellation)
    {
        CriuSession criu = CriuSession.Create(stateDirectory, $"page-server-{Environment.ProcessId}", tcpEstablished: false, userConfig: "");
        FrozenDump? frozen = null;
        try
        {
            ChildProcess dump = Start(request, criu, imageDirectory, workDirectory);
            frozen = new FrozenDump(
                request, criu, ProcessIdentity.Of(dump.Pid), token => dump.WaitAsync(token), imageDirectory, Path.Join(workDirectory, "dump.log"));
            await frozen.AwaitPostDumpAsync(cancellation).ConfigureAwait(false);
            return frozen;
        }
        catch
        {
            if (frozen is not null)
            {
                await frozen.ResumeAsync().ConfigureAwait(false);
                frozen.Dispose();
            }
            else
            {
                criu.Dispose();
                criu.Delete(keepLogs: false);
            }

            throw;
        }
    }

    /// <summary>Goes on with a dump whose page server has died. Its tasks are still frozen if a client had asked for a page, else they run on by now.</summary>
    /// <exception cref="IOException">There is no such dump, or it is over.</exception>
    internal static async Task<FrozenDump> TakeOverAsync(string session, string stateDirectory)
    {
        FrozenDumpRecord record = FrozenDumpRecord.TryLoad(Path.Combine(stateDirectory, session))
            ?? throw new IOException($"there is no dump {session} below {stateDirectory}");
        CriuSession criu = CriuSession.TakeOver(stateDirectory, session, tcpEstablished: false);
        FrozenDump frozen = new(
            new DumpRequest(record.ContainerId, record.Root.Pid, []),
            criu,
            record.Dump,
            token => record.Dump.WaitForEndAsync().WaitAsync(token),
            record.ImageDirectory,
            record.DumpLog)
        {
            _hold = record.HoldDirectory is { } directory ? HoldCgroup.Again(directory, record.Homes) : null,
            IsHandedOff = criu.Hook.Decision.Read() == HandedOffWord,
        };
        try
        {
            if (!record.Root.Exists || !record.Dump.Exists || !frozen.IsHandedOff)
            {
                await frozen.PutAwayAsync(record.Root.Exists).ConfigureAwait(false);
                throw new IOException($"{frozen.Name} is not held any more: it {(record.Root.Exists ? "runs on here" : "is gone")}");
            }

            frozen.Reach(record.Root.Pid, TaskTree.Map(record.Root.Pid));
            frozen.TellStatus();
            return frozen;
        }
        catch
        {
            frozen.Dispose();
            throw;
        }
    }

    /// <summary>
    /// A client asks for a first page, so tasks may run there from now on. CRIU has no word for this moment; the record keeps the hook from letting
    /// the tasks here run on should this process die, and the second freeze holds them should CRIU die.
    /// </summary>
    internal void HandOff()
    {
        if (IsHandedOff)
        {
            return;
        }

        _freezer!.Freeze();
        IsHandedOff = _criu.Hook.Decision.Write(HandedOffWord) == HandedOffWord ? true : throw new IOException($"{Name} runs on here: it was let go");
        TellStatus();
    }

    /// <summary>Kills the frozen copy: whatever it was runs elsewhere.</summary>
    internal async Task DiscardAsync()
    {
        using CancellationTokenSource deadline = new(EndDeadline);
        foreach (int pid in _freezer!.Processes())
        {
            ProcessSignal.Kill(pid);
        }

        _freezer.Thaw();
        while (_freezer.Processes().Count > 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(1), deadline.Token).ConfigureAwait(false);
        }

        // CRIU finds nothing to detach from and fails, which is what is wanted.
        _criu.Hook.Answer(yes: true);
        await _waitForDump(deadline.Token).ConfigureAwait(false);
        _hold?.Leave();
        if (_request.ContainerId is { } id)
        {
            await new RuncCommand(root: null).DeleteAsync(id, deadline.Token).ConfigureAwait(false);
        }

        await _networkLock!.RemoveAsync(deadline.Token).ConfigureAwait(false);
        _over = true;
    }

    /// <summary>Lets CRIU undo the dump: the tasks run on when this returns.</summary>
    internal async Task ResumeAsync()
    {
        _failed = true;
        using CancellationTokenSource deadline = new(EndDeadline);
        _criu.Hook.Answer(yes: false);
        await _waitForDump(deadline.Token).ConfigureAwait(false);
        _freezer?.Thaw();
        _hold?.Leave();
        _over = true;
    }

    /// <summary>A dump that ended without its page server, which then did not see to what is left.</summary>
    private async Task PutAwayAsync(bool tasksLive)
    {
        _over = true;
        using CancellationTokenSource deadline = new(EndDeadline);
        if (!IsHandedOff)
        {
            // The hook has undone it when it found its owner dead, unless it takes us for that one now.
            _criu.Hook.Answer(yes: false);
            await _waitForDump(deadline.Token).ConfigureAwait(false);
        }
        else if (tasksLive)
        {
            // CRIU was killed as well; the freezer still holds them, and nobody knows for whom.
            _over = false;
            throw new IOException(
                $"{Name} is frozen in {_hold?.Directory ?? "its cgroup"}, and CRIU, which held it as well, is gone: kill its tasks or thaw the cgroup by hand");
        }

        else
        {
            // Somebody killed the tasks: CRIU, if it waits still, finds nothing to let go.
            _criu.Hook.Answer(yes: true);
            await _waitForDump(deadline.Token).ConfigureAwait(false);
        }

        _hold?.Leave();
    }

    /// <summary>Frees everything here; what another process needs to go on stays unless all is over.</summary>
    public void Dispose()
    {
        _source?.Dispose();
        _networkLock?.Dispose();
        _criu.Dispose();
        if (_over)
        {
            _criu.Delete(keepLogs: _failed);
        }
    }

    private static string NameOf(DumpRequest request) => request.ContainerId is { } id ? $"container {id}" : string.Create(CultureInfo.InvariantCulture, $"process tree {request.RootPid}");

    private static ChildProcess Start(DumpRequest request, CriuSession criu, string imageDirectory, string workDirectory)
    {
        string program = request.ContainerId is null ? "criu" : "runc";
        string path = ChildPath.Find(program) ?? throw new IOException($"{program} is not on PATH: run postcopy check to see what is missing and how to get it");
        string[] arguments = request.ContainerId is { } id
            ? ["checkpoint", "--lazy-pages", "--image-path", imageDirectory, "--work-path", workDirectory, .. request.ExtraArguments, id]
            :
            [
                "dump", "--tree", request.RootPid.ToString(CultureInfo.InvariantCulture), "--lazy-pages", "--images-dir", imageDirectory, "--work-dir", workDirectory,
                "--log-file", "dump.log", "-v4", "--address", "127.0.0.1", "--port", FreePort().ToString(CultureInfo.InvariantCulture), .. request.ExtraArguments,
            ];
        return ChildProcess.Start(path, arguments, criu.Environment, criu.RuncOutput.Descriptors, newSession: true);
    }

    /// <summary>criu dump insists on one; it listens there for an instant when all is over.</summary>
    private static int FreePort()
    {
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    private async Task AwaitPostDumpAsync(CancellationToken cancellation)
    {
        while (true)
        {
            Task<CriuStep> next = _criu.Hook.NextStepAsync(cancellation).AsTask();
            if (await Task.WhenAny(next, _waitForDump(cancellation)).ConfigureAwait(false) != next && !next.IsCompleted)
            {
                cancellation.ThrowIfCancellationRequested();
                throw new IOException($"{Name} could not be dumped: {CriuLog.FirstError(_dumpLog) ?? _criu.RuncOutput.LastLine} (CRIU's log: {_dumpLog})");
            }

            CriuStep step = await next.ConfigureAwait(false);
            if (step.Action == CriuStep.PostDump)
            {
                Hold(step.InitPid);
                return;
            }
        }
    }

    private void Hold(int initPid)
    {
        _ = Images.StackPointerPages.MakeLazy(Images.ImageDirectory.Open(_imageDirectory));
        int root = _request.ContainerId is null ? _request.RootPid : initPid;
        Dictionary<Memory.ImagePid, int> tasks = TaskTree.Map(root);
        if (_request.ContainerId is null)
        {
            _hold = HoldCgroup.Around([.. tasks.Values], $"postcopy-page-server-{Environment.ProcessId}");
        }

        Reach(root, tasks);
        new FrozenDumpRecord
        {
            ContainerId = _request.ContainerId,
            Root = ProcessIdentity.Of(root),
            Dump = _dump,
            ImageDirectory = _imageDirectory,
            DumpLog = _dumpLog,
            HoldDirectory = _hold?.Directory,
            Homes = _hold?.Homes ?? [],
        }.Save(_criu.Directory);
        TellStatus();
    }

    /// <summary>For <c>postcopy status</c>.</summary>
    private void TellStatus()
    {
        try
        {
            SessionList.Write(_criu.Directory, new SessionStatus
            {
                Session = Session,
                Role = SessionStatus.PageServer,
                Container = Name,
                State = IsHandedOff ? HandedOffWord : "frozen",
                WaitsFor = IsHandedOff
                    ? "a client to fetch the pages, or a word: SIGUSR1 discards the frozen copy, SIGUSR2 lets it run on"
                    : "a client to fetch the pages; SIGTERM lets it run on",
                Since = DateTimeOffset.UtcNow,
                Pid = Environment.ProcessId,
            });
        }
        catch (IOException)
        {
            // A full state directory, for example: old news is shown, which is no reason to leave a client without its pages.
        }
    }

    private void Reach(int root, Dictionary<Memory.ImagePid, int> tasks)
    {
        _freezer = FreezerCgroup.Of(root);
        if (tasks.Values.Except(_freezer.Processes()).ToArray() is { Length: > 0 } strays)
        {
            throw new IOException($"pid {string.Join(", ", strays)} of {Name} has left its cgroup {_freezer.Directory}, so it cannot be held safely");
        }

        _networkLock = NetworkLock.Of(root);
        _source = new ProcessPageSource(tasks);
    }
}
