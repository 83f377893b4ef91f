using System.Globalization;
using PostCopy.Criu;
using PostCopy.HandOff;
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
    private static readonly TimeSpan EndDeadline = TimeSpan.FromSeconds(60);

    private readonly DumpRequest _request;
    private readonly FileStream _subjectLock;
    private readonly CriuSession _criu;
    private readonly ProcessIdentity _dump;
    private readonly Func<CancellationToken, Task> _waitForDump;
    private readonly string _imageDirectory;
    private readonly string _dumpLog;
    private readonly StatusWriter _status = new(static _ => { });
    private int[] _tasks = [];
    private FreezerCgroup? _freezer;
    private HoldCgroup? _hold;
    private NetworkLock? _networkLock;
    private ProcessPageSource? _source;
    private bool _failed;
    private bool _over;

    private FrozenDump(
        DumpRequest request, FileStream subjectLock, CriuSession criu, ProcessIdentity dump, Func<CancellationToken, Task> waitForDump, string imageDirectory, string dumpLog)
    {
        _request = request;
        _subjectLock = subjectLock;
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

    /// <summary>Completes when the process that holds the tasks has ended: CRIU, or the runc that started it.</summary>
    internal Task EndedAsync() => _waitForDump(CancellationToken.None);

    /// <exception cref="IOException">It could not be dumped, or was not to be: it runs on here.</exception>
    internal static async Task<FrozenDump> StartAsync(DumpRequest request, string imageDirectory, string workDirectory, string stateDirectory, CancellationToken cancellation)
    {
        FileStream subjectLock = await LockAsync(request, stateDirectory, cancellation).ConfigureAwait(false);
        CriuSession? criu = null;
        FrozenDump? frozen = null;
        try
        {
            criu = CriuSession.Create(stateDirectory, $"page-server-{Environment.ProcessId}", tcpEstablished: false, userConfig: "");
            string log = Path.Join(workDirectory, "dump.log");
            DateTime lastLog = File.GetLastWriteTimeUtc(log);
            ChildProcess dump = Start(request, criu, imageDirectory, workDirectory);
            frozen = new FrozenDump(request, subjectLock, criu, ProcessIdentity.Of(dump.Pid), token => dump.WaitAsync(token), imageDirectory, log);
            await frozen.AwaitPostDumpAsync(lastLog, cancellation).ConfigureAwait(false);
            return frozen;
        }
        catch (Exception e)
        {
            if (frozen is not null)
            {
                await frozen.ResumeAsync().ConfigureAwait(false);
                frozen.Dispose();
            }
            else
            {
                criu?.Dispose();
                criu?.Delete(keepLogs: false);
                subjectLock.Dispose();
            }

            if (e is OperationCanceledException)
            {
                throw new IOException($"told to stop during the dump: {NameOf(request)} runs on here", e);
            }

            throw;
        }
    }

    /// <summary>Only one at a time works on what is to be dumped, and CRIU would lose what has not arrived yet.</summary>
    private static async Task<FileStream> LockAsync(DumpRequest request, string stateDirectory, CancellationToken cancellation)
    {
        int root = request.RootPid;
        if (request.ContainerId is { } id)
        {
            root = (await new RuncCheckpoint(id, request.RuncRoot).FindAsync(cancellation).ConfigureAwait(false)).InitPid;
        }

        FileStream taken = SubjectLock.TryTake(stateDirectory, ProcessIdentity.Of(root)) ?? throw new IOException($"{NameOf(request)} is being moved already: see postcopy status{SuggestedCommand.In(stateDirectory)}");
        try
        {
            return ArrivingMemory.FirstIn(root) is { } arriving
                ? throw new IOException($"memory of {NameOf(request)} (pid {arriving}) is still arriving from where it was before: wait until its lazy-pages daemon has ended, or postcopy status{SuggestedCommand.In(stateDirectory)} shows no session of it here")
                : taken;
        }
        catch
        {
            taken.Dispose();
            throw;
        }
    }

    /// <summary>Goes on with a dump whose page server has died. Its tasks are still frozen if a client had asked for a page, else they run on by now.</summary>
    /// <exception cref="IOException">There is no such dump, or it is over.</exception>
    internal static async Task<FrozenDump> TakeOverAsync(string session, string stateDirectory)
    {
        FrozenDumpRecord record = FrozenDumpRecord.TryLoad(Path.Combine(stateDirectory, session))
            ?? throw new IOException($"there is no dump {session} below {stateDirectory}");
        DumpRequest request = new(record.ContainerId, record.Root.Pid, []) { RuncRoot = record.RuncRoot };
        FileStream subjectLock = SubjectLock.TryTake(stateDirectory, record.Root) ?? throw new IOException($"{NameOf(request)} is being worked on by another process: see postcopy status{SuggestedCommand.In(stateDirectory)}");
        CriuSession criu;
        try
        {
            criu = CriuSession.TakeOver(stateDirectory, session, tcpEstablished: false);
        }
        catch
        {
            subjectLock.Dispose();
            throw;
        }

        FrozenDump frozen = new(
            request,
            subjectLock,
            criu,
            record.Dump,
            token => record.Dump.WaitForEndAsync().WaitAsync(token),
            record.ImageDirectory,
            record.DumpLog)
        {
            _hold = record.HoldDirectory is { } directory ? HoldCgroup.Again(directory, record.Homes) : null,
            IsHandedOff = criu.Hook.Decision.Read() == HandOffWords.HandedOff,
        };
        try
        {
            if (!record.Root.Exists || !record.Dump.Exists || !frozen.IsHandedOff)
            {
                await frozen.PutAwayAsync(record.Root).ConfigureAwait(false);
                throw new IOException($"{frozen.Name} is not held any more: it {(record.Root.Exists ? "runs on here" : "is gone")}");
            }

            frozen.Reach(record.Root.Pid, TaskTree.Map(record.Root.Pid));
            if (!frozen._freezer!.IsFrozen)
            {
                // Its server died between the record and the freeze.
                frozen.FreezeAgain();
            }

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
    /// <remarks>
    /// The record comes first. Should this process die between the two, CRIU holds the tasks still, and the hook does not let them go; the other way round it
    /// would let them go in a cgroup that is frozen, with nobody left to thaw it. No page is sent before both. (A migration freezes first: its
    /// hook leaves the freeze to whoever settles its session.)
    /// </remarks>
    /// <exception cref="IOException">It could not be held, or has run on since the dump.</exception>
    internal void HandOff()
    {
        if (IsHandedOff)
        {
            return;
        }

        if (_criu.Hook.Decision.Write(HandOffWords.HandedOff) != HandOffWords.HandedOff)
        {
            throw new IOException($"{Name} runs on here: it was let go");
        }

        FreezeAgain();
        IsHandedOff = true;
        TellStatus();
    }

    /// <summary>The second freeze. Were CRIU dead already, the tasks would have run on since the dump, and the images would be of the past.</summary>
    private void FreezeAgain()
    {
        if (TaskTree.FreezeAgain(_freezer!, _tasks) is { } free)
        {
            _freezer!.Thaw();
            throw new IOException($"CRIU let go of {Name} after the dump (pid {free} ran on): it runs on here, and its images are of the past");
        }
    }

    /// <summary>Kills the frozen copy: whatever it was runs elsewhere.</summary>
    internal Task DiscardAsync() => WithinDeadlineAsync($"the frozen copy of {Name} could not be removed: kill the processes in {_freezer!.Directory}", async deadline =>
    {
        await _freezer.KillAllAsync(deadline).ConfigureAwait(false);
        // CRIU finds nothing to detach from and fails, which is what is wanted.
        _criu.Hook.Answer(yes: true);
        await _waitForDump(deadline).ConfigureAwait(false);
        await RemoveRestAsync(deadline).ConfigureAwait(false);
    });

    /// <summary>Lets CRIU undo the dump: the tasks run on when this returns.</summary>
    internal Task ResumeAsync()
    {
        _failed = true;
        return WithinDeadlineAsync($"CRIU has not let {Name} go: its log is {_dumpLog}. Kill criu, then thaw {_freezer?.Directory ?? "its cgroup"}, and it runs on here", async deadline =>
        {
            _criu.Hook.Answer(yes: false);
            await _waitForDump(deadline).ConfigureAwait(false);
            _freezer?.Thaw();
            _hold?.Leave();
            _over = true;
        });
    }

    private static async Task WithinDeadlineAsync(string otherwise, Func<CancellationToken, Task> step)
    {
        using CancellationTokenSource deadline = new(EndDeadline);
        try
        {
            await step(deadline.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException e)
        {
            throw new IOException($"{otherwise} (it took longer than {EndDeadline.TotalSeconds} s)", e);
        }
    }

    /// <summary>What is left when its tasks are dead.</summary>
    private async Task RemoveRestAsync(CancellationToken deadline)
    {
        _hold?.Leave();
        if (_request.ContainerId is { } id)
        {
            await new RuncCommand(_request.RuncRoot).DeleteAsync(id, deadline).ConfigureAwait(false);
        }

        if (_networkLock is not null)
        {
            await _networkLock.RemoveAsync(deadline).ConfigureAwait(false);
        }

        _over = true;
    }

    /// <summary>A dump that ended without its page server, which then did not see to what is left.</summary>
    private Task PutAwayAsync(ProcessIdentity root) => WithinDeadlineAsync($"CRIU has not let {Name} go: its log is {_dumpLog}", async deadline =>
    {
        FreezerCgroup? freezer = root.Exists ? FreezerCgroup.TryOf(root.Pid) : null;
        if (!IsHandedOff)
        {
            // The hook has undone it when it found its owner dead, unless it takes us for that one now.
            _criu.Hook.Answer(yes: false);
            await _waitForDump(deadline).ConfigureAwait(false);
            _hold?.Leave();
            _over = true;
        }
        else if (!root.Exists)
        {
            // Somebody killed the tasks, or its server died while it did: CRIU, if it waits still, finds nothing to let go. The lock on a network cannot
            // be found any more without a task that is in it.
            _criu.Hook.Answer(yes: true);
            await _waitForDump(deadline).ConfigureAwait(false);
            await RemoveRestAsync(deadline).ConfigureAwait(false);
        }
        else if (freezer is { IsFrozen: true })
        {
            // CRIU was killed as well; the freezer still holds them, and nobody knows for whom.
            throw new IOException(
                $"{Name} is frozen in {freezer.Directory}, and CRIU, which held it as well, is gone: if it runs at the destination, kill its processes here; if not, thaw that cgroup");
        }
        else
        {
            // CRIU had died before the freeze, and no page was sent.
            _hold?.Leave();
            _over = true;
        }
    });

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

        _subjectLock.Dispose();
    }

    private static string NameOf(DumpRequest request) => request.ContainerId is { } id ? $"container {id}" : string.Create(CultureInfo.InvariantCulture, $"process tree {request.RootPid}");

    private static ChildProcess Start(DumpRequest request, CriuSession criu, string imageDirectory, string workDirectory)
    {
        string path = request.ContainerId is null ? CriuProgram.Path : RuncCommand.Program;
        string[] arguments = request.ContainerId is { } id
            ? [.. request.RuncRoot is { } runcRoot ? (string[])["--root", runcRoot] : [], "checkpoint", "--lazy-pages", "--image-path", imageDirectory, "--work-path", workDirectory, .. request.ExtraArguments, id]
            :
            [
                "dump", "--tree", request.RootPid.ToString(CultureInfo.InvariantCulture), "--lazy-pages", "--images-dir", imageDirectory, "--work-dir", workDirectory,
                "--log-file", "dump.log", "-v4", .. request.ExtraArguments,
            ];
        return ChildProcess.Start(path, arguments, criu.Environment, criu.RuncOutput.Descriptors, newSession: true);
    }

    /// <param name="lastLog">When the log was written to that another CRIU may have left where this one's is to be.</param>
    /// <param name="cancellation">Ends the wait.</param>
    private async Task AwaitPostDumpAsync(DateTime lastLog, CancellationToken cancellation)
    {
        while (true)
        {
            Task<CriuStep> next = _criu.Hook.NextStepAsync(cancellation).AsTask();
            if (await Task.WhenAny(next, _waitForDump(cancellation)).ConfigureAwait(false) != next && !next.IsCompleted)
            {
                cancellation.ThrowIfCancellationRequested();
                bool isTheirs = File.GetLastWriteTimeUtc(_dumpLog) != lastLog;
                throw new IOException(
                    $"{Name} could not be dumped and runs on here: {(isTheirs ? CriuLog.FirstError(_dumpLog) : null) ?? _criu.RuncOutput.LastLine}{(isTheirs ? $" (CRIU's log: {_dumpLog})" : "")}");
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
            RuncRoot = _request.RuncRoot,
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
    private void TellStatus() => _status.Tell(_criu.Directory, new SessionStatus
    {
        Session = Session,
        Role = SessionRole.PageServer,
        Container = _request.ContainerId ?? Name,
        State = IsHandedOff ? SessionState.HandedOff : SessionState.Frozen,
        WaitsFor = IsHandedOff
            ? "a client to fetch the pages, or a word: SIGUSR1 discards the frozen copy, SIGUSR2 lets it run on"
            : "a client to fetch the pages; SIGTERM lets it run on",
    });

    private void Reach(int root, Dictionary<Memory.ImagePid, int> tasks)
    {
        _tasks = [.. tasks.Values];
        if (_request.ContainerId is { } id)
        {
            _freezer = new RuncCheckpoint(id, _request.RuncRoot).Gather(_criu, root, _tasks);
        }
        else
        {
            _freezer = FreezerCgroup.Of(root);
            if (_tasks.Except(_freezer.Processes()).ToArray() is { Length: > 0 } strays)
            {
                throw new IOException($"pid {string.Join(", ", strays)} of {Name} has left its cgroup {_freezer.Directory}, so it cannot be held safely");
            }
        }

        _networkLock = NetworkLock.Of(root);
        _source = new ProcessPageSource(tasks);
    }
}
