using System.Net;
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
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>
/// One migration from the source's side: the steps in their order. What each failure means is <see cref="SourceHandOff"/>'s to say; this class
/// does what it says (MigrationRun.HandOff.cs).
/// </summary>
internal sealed partial class MigrationRun : IDisposable
{
    private readonly MigrationOptions _options;
    private readonly ILogger _logger;
    private readonly SessionToken _session = SessionToken.Create();
    private readonly PagePool _pool = new();
    private readonly Timeline _times = new() { BegunUs = WallClock.NowUs };
    private readonly List<string> _errors = [];
    private readonly ProgressReporter _progress;
    private RuncCommand? _runc;
    private CriuSession? _criu;
    private ControlChannel? _control;
    private PageLanes? _lanes;
    private ChildProcess? _checkpoint;
    private FreezerCgroup? _freezer;
    private int[] _tasks = [];
    private NetworkLock? _networkLock;
    private ProcessPageSource? _source;
    private PageServerSession? _server;
    private PushPlan? _plan;
    private Drained _drained = new();
    private AwakeCpus? _awake;
    private bool _keepFiles;

    internal MigrationRun(MigrationOptions options, ILogger logger, IProgress<MigrationProgress>? progress)
    {
        _options = options;
        _logger = logger;
        _progress = new ProgressReporter(progress, () => (_lanes?.Bytes ?? 0) + ControlBytes);
    }

    private ulong ControlBytes => _control is { } control ? control.Lane.BytesReceived + control.Lane.BytesSent : 0;

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
            // Nothing was touched yet.
            _errors.Add(Explain(e));
            return Report(e is OperationCanceledException ? MigrationOutcome.RolledBack : MigrationOutcome.Refused);
        }

        try
        {
            await DumpAsync(cancellation).ConfigureAwait(false);
            await SendImagesAsync(cancellation).ConfigureAwait(false);
            await AwaitQuestionAsync(cancellation).ConfigureAwait(false);
            outcome = await FinishAsync().ConfigureAwait(false);
        }
        catch (Exception e)
        {
            // Whatever it is, a defect of ours included: before the hand-off, the container must run on.
            _errors.Add(Explain(e));
            await AdvanceAsync(SourceInput.GiveUp).ConfigureAwait(false);
            outcome = _state == SourceState.HandedOff ? await FinishAsync().ConfigureAwait(false) : await RolledBackAsync().ConfigureAwait(false);
        }

        return Report(outcome);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _awake?.Dispose();
        _control?.Close();
        _lanes?.Dispose();
        _control?.Dispose();
        _source?.Dispose();
        _networkLock?.Dispose();
        _criu?.Dispose();
        if (!_keepFiles)
        {
            _criu?.Delete(keepLogs: _errors.Count > 0 && _checkpoint is not null);
        }

        _pool.Dispose();
    }

    private async Task PrepareAsync(CancellationToken cancellation)
    {
        _runc = new RuncCommand(_options.RuncRoot);
        string criu = ChildPath.Find("criu") ?? throw new MigrationException("CRIU is not installed on this host: run postcopy check to see what is missing and how to get it");
        RuncContainer container = await _runc.FindAsync(_options.ContainerId, cancellation).ConfigureAwait(false)
            ?? throw new MigrationException($"runc knows no container '{_options.ContainerId}' on this host{(_options.RuncRoot is null ? " (is its state below another directory? name it with --runc-root)" : "")}");
        if (container.Status != "running")
        {
            throw new MigrationException($"the container '{container.Id}' is {container.Status}: only a running one can be moved{(container.Status == "paused" ? " (runc resume it first)" : "")}");
        }

        TlsDialling? tls = TlsDialling.For(_options.Destination, _options.Tls, _options.TlsName);
        if (tls is null && !_options.Destination.IsLocal && !_options.Insecure)
        {
            throw new MigrationException($"{_options.Destination} is another machine, and the connection would not be encrypted: whoever can read the wire would read the container's memory. Give both hosts certificates (postcopy certs), use a tunnel to a local port, or say --insecure");
        }

        AgentToken token = _options.Destination.UnixPath is not null ? AgentToken.None : AgentToken.Load(_options.TokenFile);
        string userConfig = ReadUserConfig();
        EndPoint[] endpoints = await _options.Destination.ResolveAsync(cancellation).ConfigureAwait(false);
        try
        {
            await Task.Factory.StartNew(() => Connect(endpoints, token, tls), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        }
        catch (SocketException e)
        {
            throw new MigrationException($"no agent answers at {_options.Destination} ({e.Message}): is 'postcopy agent' running there, and does it listen on that address?", e);
        }

        _control!.Send(FrameKind.Prepare, new Prepare
        {
            ContainerId = _options.DestinationId ?? container.Id,
            ContainerIdAtSource = container.Id,
            Bundle = _options.DestinationBundle ?? container.Bundle,
            TcpEstablished = _options.TcpEstablished,
            CriuConfig = userConfig,
            StopCopy = _options.Mode == MigrationMode.StopCopy,
            Checksums = _options.Verify,
            Architecture = RuntimeInformation.ProcessArchitecture.ToString(),
            CriuVersion = await CriuVersion.OfAsync(criu, cancellation).ConfigureAwait(false),
            MemoryBytes = ResidentMemory.OfTree(container.InitPid),
        });
        Prepared prepared = (await AwaitKindAsync("the destination's checks", FrameKind.Prepared, _options.StepDeadline, cancellation).ConfigureAwait(false)).As<Prepared>();
        if (prepared.Refusals.Count > 0)
        {
            throw new MigrationException("the destination cannot take the container: " + string.Join("; ", prepared.Refusals));
        }

        if (prepared.Checksums != _options.Verify)
        {
            throw new MigrationException("the destination's agent is of a release that knows no --verify: bring both hosts to one release");
        }

        _criu = new CriuSession(_options.StateDirectory, $"{_session.Name}-source", _options.TcpEstablished, userConfig);
    }

    private void Connect(EndPoint[] endpoints, AgentToken token, TlsDialling? tls)
    {
        _control = new ControlChannel(LaneOpening.Dial(endpoints, LaneRole.Control, _session, epoch: 1, token, _pool, tls: tls), "source");
        SocketLane demand = LaneOpening.Dial(endpoints, LaneRole.Demand, _session, epoch: 1, token, _pool, _options.CongestionControl, tls: tls);
        SocketLane push = LaneOpening.Dial(endpoints, LaneRole.Push, _session, epoch: 1, token, _pool, _options.CongestionControl, tls: tls);
        _lanes = new PageLanes(demand, push);
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

    /// <summary>Has CRIU hold the tasks and write everything but their memory. Returns with CRIU waiting in post-dump.</summary>
    private async Task DumpAsync(CancellationToken cancellation)
    {
        _progress.Enter(MigrationPhase.Dumping);
        cancellation.ThrowIfCancellationRequested();
        _checkpoint = _runc!.StartCheckpoint(_options.ContainerId, _criu!);
        CriuStep step;
        do
        {
            step = await NextStepAsync("CRIU's dump", cancellation).ConfigureAwait(false);
            switch (step.Action)
            {
                case CriuStep.PreDump:
                    _times.PreDumpUs = step.AtUs;
                    break;
                case CriuStep.NetworkLock:
                    _times.SeizedUs = step.AtUs;
                    break;
                default:
                    break;
            }
        }
        while (step.Action != CriuStep.PostDump);
        _times.DumpedUs = step.AtUs;
        await AdvanceAsync(SourceInput.Dumped).ConfigureAwait(false);

        ReadDump(step.InitPid);
        _lanes!.StartDemand(_server!);
    }

    /// <summary>What the images owe, who of the frozen tasks has it, and what else must be known of them while they exist.</summary>
    private void ReadDump(int initPid)
    {
        OwedMemory owed = OwedMemory.From(ImageDirectory.Open(_criu!.ImageDirectory));
        Dictionary<ImagePid, int> tasks = TaskTree.Map(initPid);
        _tasks = [.. tasks.Values];
        _freezer = FreezerCgroup.Of(initPid);
        if (_tasks.Except(_freezer.Processes()).ToArray() is { Length: > 0 } strays)
        {
            throw new MigrationException($"pid {string.Join(", ", strays)} of the container has left the container's cgroup {_freezer.Directory}, so it cannot be held safely");
        }

        _networkLock = NetworkLock.Of(initPid);
        _source = new ProcessPageSource(tasks);
        _plan = new PushPlan(new UnsentPages(owed.Ranges), PrefetchPolicies.Create(_options.Policy));
        _server = new PageServerSession(_source, _plan, _options.Verify);
        _progress.PagesTotal = owed.TotalPages;
    }

    private async Task SendImagesAsync(CancellationToken cancellation)
    {
        _progress.Enter(MigrationPhase.SendingImages);
        await Task.Factory.StartNew(() => ImageSender.Send(_criu!.ImageDirectory, _control!, cancellation), cancellation, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        await AdvanceAsync(SourceInput.ImagesSent).ConfigureAwait(false);
    }

    /// <summary>Until the destination's copy is complete and asks for the word; then answers.</summary>
    private async Task AwaitQuestionAsync(CancellationToken cancellation)
    {
        _progress.Enter(MigrationPhase.Restoring);
        Built built = (await AwaitKindAsync("the restore on the destination", FrameKind.Built, _options.StepDeadline, cancellation).ConfigureAwait(false)).As<Built>();
        _times.ImagesCompleteUs = _control!.Clock.ToOurUs(built.ImagesCompleteUs);
        _awake = _options.KeepCpusAwake ? AwakeCpus.TryHold() : null;
        _times.BuiltUs = _control.Clock.ToOurUs(built.BuiltUs);
        // Its address spaces are complete, though none runs: from here on pages can be installed.
        _lanes!.StartPush(_server!);
        if (_options.Mode == MigrationMode.StopCopy)
        {
            _progress.Enter(MigrationPhase.Copying);
        }

        TimeSpan patience = _options.Mode == MigrationMode.StopCopy ? Timeout.InfiniteTimeSpan : _options.StepDeadline;
        await AwaitKindAsync("the destination's question", FrameKind.Ask, patience, cancellation).ConfigureAwait(false);
        cancellation.ThrowIfCancellationRequested();
        await AdvanceAsync(SourceInput.PeerAsks).ConfigureAwait(false);
    }
}
