using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using PostCopy.Buffers;
using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Criu;
using PostCopy.HandOff;
using PostCopy.Images;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Runc;
using PostCopy.Serve;
using PostCopy.Sessions;
using PostCopy.Trees;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>
/// One migration from the source's side: the steps in their order. What each failure means is <see cref="SourceHandOff"/>'s to say; this class
/// does what it says (MigrationRun.HandOff.cs).
/// </summary>
internal sealed partial class MigrationRun : IDisposable
{
    /// <summary>What CRIU has in the tasks' memory while it dumps them.</summary>
    private const ulong DumpBytes = 4 << 20;

    /// <summary>Growth that is worth a line.</summary>
    private const ulong NotableGrowthBytes = 16 << 20;

    private readonly MigrationOptions _options;
    private readonly ILogger _logger;
    private SessionToken _session = SessionToken.Create();
    private readonly PagePool _pool = new();
    private readonly Timeline _times = new() { BegunUs = WallClock.NowUs };
    private readonly ErrorList _errors = new();
    private readonly UnreadablePages _unreadable;
    private readonly ProgressReporter _progress;
    private readonly ICheckpointEngine _engine;
    private CriuSession? _criu;
    private ControlChannel? _control;
    private PageLanes? _lanes;
    private ChildProcess? _checkpoint;
    private Task? _checkpointEnded;
    private FreezerCgroup? _freezer;
    private int[] _tasks = [];
    private NetworkLock? _networkLock;
    private ProcessPageSource? _source;
    private PageServerSession? _server;
    private PushPlan? _plan;
    private ImageSender? _images;
    private bool _restoresEarly;
    private IReadOnlyList<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> _owed = [];
    private Drained _drained = new();
    private AwakeCpus? _awake;
    private ResidentMemory _memory;
    private FileStream? _subjectLock;
    private bool _keepFiles;
    private bool _isNothingLeft;

    internal MigrationRun(MigrationOptions options, ILogger logger, IProgress<MigrationProgress>? progress)
    {
        _options = options;
        _engine = options switch
        {
            { ContainerId: { } id, ProcessId: null } => new RuncCheckpoint(id, options.RuncRoot),
            { ContainerId: null, ProcessId: { } pid } => new ProcessCheckpoint(pid),
            _ => throw new ArgumentException("either a container or a process is moved", nameof(options)),
        };
        _logger = logger;
        _status = new StatusWriter(reason => MigrateLog.NoStatus(_logger, _session.Name, reason));
        _unreadable = new UnreadablePages(TellUnreadable);
        _progress = new ProgressReporter(progress, () => BytesOnWire, e => MigrateLog.NoProgress(_logger, _session.Name, Explain(e)));
    }

    internal async Task<MigrationReport> RunAsync(CancellationToken cancellation)
    {
        MigrationOutcome outcome;
        try
        {
            _progress.Enter(MigrationPhase.Preparing);
            await PrepareAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // Nothing was frozen yet.
            _bytesBefore = BytesOnWire;
            _errors.Add(_copiedBefore ? $"while memory was copied before the freeze: {Explain(e)}" : Explain(e));
            return Report(_copiedBefore || e is OperationCanceledException ? MigrationOutcome.RolledBack : MigrationOutcome.Refused);
        }

        try
        {
            await DumpAsync(cancellation).ConfigureAwait(false);
            await AwaitQuestionAsync(cancellation).ConfigureAwait(false);
            outcome = await FinishAsync(cancellation).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            outcome = await EndAfterFailureAsync(e, cancellation).ConfigureAwait(false);
        }

        return Report(outcome);
    }

    /// <summary>Whatever it is, a defect of ours included: before the hand-off the container must run on, and behind it the frozen copy must be served, or kept.</summary>
    private async Task<MigrationOutcome> EndAfterFailureAsync(Exception failure, CancellationToken cancellation)
    {
        if (_state == SourceState.RolledBack)
        {
            // It is decided, and what had to be done for it may not have been.
            return LeaveForLater(failure);
        }

        _errors.Add(Explain(failure));
        try
        {
            await AdvanceAsync(SourceInput.GiveUp).ConfigureAwait(false);
            return _state switch
            {
                SourceState.HandedOff => await FinishAsync(cancellation).ConfigureAwait(false),
                SourceState.Drained => KeepFrozenCopy("the destination has every page"),
                SourceState.Done => await MovedAsync().ConfigureAwait(false),
                _ => await RolledBackAsync().ConfigureAwait(false),
            };
        }
        catch (Exception e)
        {
            return LeaveForLater(e);
        }
    }

    private MigrationOutcome LeaveForLater(Exception e)
    {
        _errors.Add($"{Explain(e)}. What there is of the session is kept: see postcopy status{InStateDirectory}; to go on with it: postcopy migrate --resume {_session.Name}{InStateDirectory}");
        return KeepUnsettled();
    }

    /// <summary>Leaves everything as it is for a later process. Returns what the record says.</summary>
    private MigrationOutcome KeepUnsettled()
    {
        _keepFiles = true;
        return _criu!.Hook.Decision.Read() == HandOffWords.HandedOff && _criu.Hook.Returned.Read() is null ? MigrationOutcome.HandedOff : MigrationOutcome.RolledBack;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _awake?.Dispose();
        _control?.Close();
        Disconnect();
        _source?.Dispose();
        _preCopy?.Dispose();
        _networkLock?.Dispose();
        // Without its record a frozen copy would run on. So it stays until it is settled who runs.
        if (!_keepFiles && (_isNothingLeft || _state is SourceState.Preparing or SourceState.RolledBack or SourceState.Done))
        {
            // While the hook's scripts still see that we live: none of them settles anything any more.
            DeleteSession();
        }

        _criu?.Dispose();
        _subjectLock?.Dispose();
        _pool.Dispose();
    }

    /// <summary>What is left of it decides nothing, and must not stand in the way of the report.</summary>
    private void DeleteSession()
    {
        try
        {
            _criu?.Delete(keepLogs: _errors.Count > 0 && _checkpoint is not null);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            MigrateLog.LeftBehind(_logger, _session.Name, e.Message);
        }
    }

    private async Task PrepareAsync(CancellationToken cancellation)
    {
        string criu = CriuProgram.Path;
        CheckpointTarget target = await _engine.FindAsync(cancellation).ConfigureAwait(false);
        if (_options.ProcessId is not null && _options.TcpEstablished)
        {
            throw new MigrationException("--tcp-established is for containers with an address of their own: a process tree has this host's, which stays");
        }

        if (_options.Tls is null && !_options.Destination.IsLocal && !_options.Insecure)
        {
            throw new MigrationException($"{_options.Destination} is another machine, and the connection would not be encrypted: whoever can read the wire would read the container's memory. Give both hosts certificates (postcopy certs), use a tunnel to a local port, or say --insecure");
        }

        ProcessIdentity init = ProcessIdentity.Of(target.InitPid);
        _subjectLock = SubjectLock.TryTake(_options.StateDirectory, init)
            ?? throw new MigrationException($"{_engine.Subject} is being moved already: see postcopy status{InStateDirectory}");
        if (ArrivingMemory.FirstIn(target.InitPid) is { } arriving)
        {
            throw new MigrationException($"memory of {_engine.Subject} (pid {arriving}) is still arriving from where it was before: wait until postcopy status{InStateDirectory} shows no session of it here");
        }

        CloseDeadAttempts(init);
        string userConfig = ReadUserConfig();
        try
        {
            await ConnectAsync(cancellation).ConfigureAwait(false);
        }
        catch (SocketException e)
        {
            throw new MigrationException($"no agent answers at {_options.Destination} ({e.Message}): is 'postcopy agent' running there, and does it listen on that address?", e);
        }

        _memory = ResidentMemory.OfTree(target.InitPid);
        RefuseWhatCannotBeSwappedIn(target.InitPid);
        if (_memory.OnceMoved > _memory.Here + Math.Max(_memory.Here / 10, NotableGrowthBytes))
        {
            MigrateLog.MemoryGrows(_logger, _session.Name, _engine.Subject, _memory.Here >> 20, _memory.OnceMoved >> 20);
        }

        _control!.Send(FrameKind.Prepare, new Prepare
        {
            ContainerId = _options.DestinationId ?? target.Id,
            Bundle = _options.DestinationBundle ?? target.Bundle,
            TcpEstablished = _options.TcpEstablished,
            CriuConfig = userConfig,
            StopCopy = _options.Mode == MigrationMode.StopCopy,
            Checksums = _options.Verify,
            Architecture = RuntimeInformation.ProcessArchitecture.ToString(),
            CriuVersion = await CriuVersion.OfAsync(criu, cancellation).ConfigureAwait(false),
            MemoryBytes = _memory.OnceMoved,
            MemoryBytesAtSource = _memory.Here,
            Collapse = _options.Collapse,
            LargestMappingBytes = LargestMapping.OfTree(target.InitPid),
            UserNamespace = !ProcessNamespace.IsOurs(target.InitPid, "user"),
            PreCopy = _options.PreCopy,
            SystemdCgroup = target.SystemdCgroup,
            StepDeadlineMs = (ulong)_options.StepDeadline.TotalMilliseconds,
            ProcessTree = _options.ProcessId is null ? null : new Control.Messages.ProcessTree { Pids = { target.Pids } },
        });
        Prepared prepared = (await AwaitKindAsync("the destination's checks", FrameKind.Prepared, _options.StepDeadline, cancellation).ConfigureAwait(false)).As<Prepared>();
        if (prepared.Refusals.Count > 0)
        {
            throw new MigrationException($"the destination cannot take {_engine.Subject}: " + string.Join("; ", prepared.Refusals));
        }

        if (prepared.Checksums != _options.Verify)
        {
            throw new MigrationException("the destination's agent is of a release that knows no --verify: bring both hosts to one release");
        }

        _restoresEarly = prepared.EarlyRestore;
        _images = new ImageSender(_control);
        _criu = CriuSession.Create(_options.StateDirectory, _session.Name + SessionDirectory.SourceSuffix, _options.TcpEstablished, userConfig);
        Save(new SourceRecord { Token = _session.ToHex(), Options = _options, Epoch = _epoch, Init = init, DestinationBootId = prepared.BootId });
        // From here on there is something that a sudden death would leave.
        TellStatus();
        if (prepared.PreCopy)
        {
            await PreCopyAsync(target.InitPid, cancellation).ConfigureAwait(false);
        }
        else
        {
            PutAwayLeftovers(target.InitPid);
            if (_options.PreCopy)
            {
                SayNoPreCopy("the destination's agent takes no pages before the freeze");
            }
        }
    }

    /// <summary>
    /// CRIU's dump has every page in memory at the same time (it puts them into pipes, vmsplice(2)). Were a memory cgroup too small for that, the kernel would kill
    /// one of its tasks.
    /// </summary>
    private void RefuseWhatCannotBeSwappedIn(int initPid)
    {
        if (_memory.Swapped > 0 && MemoryCgroup.LimitOf(initPid) is { } limit && _memory.Here + DumpBytes > limit)
        {
            throw new MigrationException($"{_memory.Swapped >> 20} MiB of {_engine.Subject} are on swap, and CRIU needs all of its {_memory.Here >> 20} MiB in memory for the dump, but its memory cgroup is limited to {limit >> 20} MiB: raise that first (runc update --memory)");
        }
    }

    private void Save(SourceRecord record)
    {
        _record = record;
        record.Save(_criu!.Directory);
    }

    private string ReadUserConfig()
    {
        if (_options.CriuConfigFile is not { } path)
        {
            return "";
        }

        FileInfo file = new(path);
        return file.Exists && file.Length <= CriuConfig.MaxUserBytes
            ? File.ReadAllText(path)
            : throw new MigrationException(file.Exists ? $"{path} has {file.Length} bytes, at most {CriuConfig.MaxUserBytes} are taken along" : $"there is no file {path}");
    }

    /// <summary>Has CRIU hold the tasks and write everything but their memory, and sends what it wrote. Returns with CRIU waiting in post-dump.</summary>
    private async Task DumpAsync(CancellationToken cancellation)
    {
        _progress.Enter(MigrationPhase.Dumping);
        CriuStep step = await WithDeadlineAsync("CRIU's dump", _options.StepDeadline, HoldTasksAsync, cancellation).ConfigureAwait(false);
        _times.DumpedUs = step.AtUs;
        await AdvanceAsync(SourceInput.Dumped).ConfigureAwait(false);

        Task<ImageSet> opening = Task.Run(OpenDump, CancellationToken.None);
        Task sending = SendImagesAsync(opening, cancellation);
        Task reading = Task.Run(async () =>
        {
            ReadDump(await opening.ConfigureAwait(false), step.InitPid);
            _progress.Enter(MigrationPhase.SendingImages);
            _lanes!.StartDemand(_server!);
            StartValidating();
        }, CancellationToken.None);
        // Both end before anything is undone.
        await Task.WhenAll(sending, reading).ConfigureAwait(false);
        await AdvanceAsync(SourceInput.ImagesSent).ConfigureAwait(false);
    }

    private ImageSet OpenDump()
    {
        ImageSet images = ImageDirectory.Open(_criu!.ImageDirectory);
        if (StackPointerPages.MakeLazy(images) is > 0 and var pages)
        {
            MigrateLog.WasKeptBack(_logger, _session.Name, PageSize.ToBytes(pages) >> 20, _engine.Subject);
            images = ImageDirectory.Open(_criu.ImageDirectory);
        }

        return images;
    }

    /// <summary>What the images owe, who of the frozen tasks has it, and what else must be known of them while they exist.</summary>
    private void ReadDump(ImageSet images, int initPid)
    {
        OwedMemory owed = OwedMemory.From(images);
        Dictionary<ImagePid, int> tasks = TaskTree.Map(initPid);
        _tasksByPid = tasks;
        _tasks = [.. tasks.Values];
        _freezer = _engine.Gather(_criu!, initPid, _tasks);
        _networkLock = NetworkLock.Of(initPid);
        _source = new ProcessPageSource(tasks);
        _owed = owed.Ranges;
        _plan = new PushPlan(new UnsentPages(_owed), PrefetchPolicies.Create(_options.Policy));
        _server = new PageServerSession(_source, _plan, _options.Verify, _unreadable);
        _progress.PagesTotal = owed.TotalPages;
    }

    /// <summary>
    /// Everything stands still meanwhile, and images can be large and a link slow: this ends at the deadline, when the user wants it to, and when the destination
    /// has given up.
    /// </summary>
    private Task SendImagesAsync(Task opening, CancellationToken cancellation) => WithDeadlineAsync("sending the images", _options.StepDeadline, async token =>
    {
        Task sending = Task.Factory.StartNew(() => _images!.SendAll(_criu!.ImageDirectory, opening, token), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        try
        {
            _nextMessage ??= _control!.ReceiveAsync(CancellationToken.None).AsTask();
            await Task.WhenAny(sending, _nextMessage).WaitAsync(token).ConfigureAwait(false);
            // It has nothing else to say before it has all of them, and whoever speaks right behind the last one is heard later.
            if (!sending.IsCompleted && _nextMessage.IsCompletedSuccessfully && (await _nextMessage.ConfigureAwait(false)).Kind == FrameKind.NeverRan)
            {
                await ReceiveExpectedAsync(token).ConfigureAwait(false);
            }

            await sending.WaitAsync(token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is OperationCanceledException || !sending.IsCompleted)
        {
            // What is being sent at this moment may wait for the link longer than anybody wants to wait. The roll-back connects anew.
            _control!.Abort("the migration was given up while the images were on their way");
            await Task.WhenAny(sending).ConfigureAwait(false);
            throw;
        }
    }, cancellation);

    /// <summary>Until the destination's copy is complete and asks for the word; then answers.</summary>
    private async Task AwaitQuestionAsync(CancellationToken cancellation)
    {
        _progress.Enter(MigrationPhase.Restoring);
        Built built = (await AwaitKindAsync("the restore on the destination", FrameKind.Built, _options.StepDeadline, cancellation).ConfigureAwait(false)).As<Built>();
        _times.ImagesCompleteUs = _control!.Clock.ToOurUs(built.ImagesCompleteUs);
        _awake = _options.KeepCpusAwake ? AwakeCpus.TryHold() : null;
        _times.BuiltUs = _control.Clock.ToOurUs(built.BuiltUs);
        // Its address spaces are complete, though none runs: from here on pages can be installed.
        StartPushWhenValidated();
        if (_options.Mode == MigrationMode.StopCopy)
        {
            // They run when all has been pushed, and not before: there is nothing to stand behind.
            _lanes!.TasksRun();
            _progress.Enter(MigrationPhase.Copying);
        }

        TimeSpan patience = _options.Mode == MigrationMode.StopCopy ? Timeout.InfiniteTimeSpan : _options.StepDeadline;
        await AwaitKindAsync("the destination's question", FrameKind.Ask, patience, cancellation).ConfigureAwait(false);
        cancellation.ThrowIfCancellationRequested();
        await AdvanceAsync(SourceInput.PeerAsks).ConfigureAwait(false);
    }
}
