using System.Diagnostics.CodeAnalysis;
using System.Runtime.ExceptionServices;
using System.Threading.Channels;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using PostCopy.Check;
using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Criu;
using PostCopy.Faults;
using PostCopy.HandOff;
using PostCopy.Images;
using PostCopy.Keeper;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Restore;
using PostCopy.Sessions;
using PostCopy.Staging;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Agent;

/// <summary>
/// One container on its way to this host. Everything that happens goes through one queue of events; what an event means for the right to run is
/// <see cref="DestinationHandOff"/>'s to say, and this class does what it says (AgentSession.HandOff.cs).
/// </summary>
[SuppressMessage("Design", "CA1001", Justification = "RunAsync makes and disposes all of it.")]
internal sealed partial class AgentSession
{
    /// <summary>Messages taken from the control channel and not handled yet. When they are as many, the channel's own bound holds the source.</summary>
    private const int MaxUnhandledMessages = 4;

    private static readonly TimeSpan ProgressEvery = TimeSpan.FromMilliseconds(100);

    private readonly AgentOptions _options;
    private readonly ILogger _logger;
    private readonly Channel<SessionEvent> _events = Channel.CreateUnbounded<SessionEvent>(new UnboundedChannelOptions { SingleReader = true });
    private readonly SemaphoreSlim _messageSlots = new(MaxUnhandledMessages);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly PageLaneThreads _lanes;
    private readonly Lock _reattaching = new();
    private readonly ErrorList _errors = new();
    private ControlChannel? _control;
    private Prepare _container = new();
    private CriuSession? _criu;
    private KeeperProcess? _keeper;
    private EventJournal? _journal;
    private LazyPagesSocket? _socket;
    private LazyMemory? _memory;
    private HugePageJoiner? _joiner;
    private ImageInbox? _inbox;
    private ChildProcess? _restore;
    private Timer? _ticks;
    private AwakeCpus? _awake;
    private int _initPid;
    private bool _drained;
    private bool _linkLost;
    private bool _asked;
    private bool _readyToRun;
    private IReadOnlyList<KeyValuePair<ImagePid, PageRange>> _wipedOnFork = [];
    private bool _sourceSaidNo;
    private bool _sourceSaidGoodbye;
    private uint _epoch = LaneHello.FirstEpoch;
    private bool _isOver;
    private bool _accepted;
    private bool _agentStops;
    private bool _sayAgain;
    private string? _lastFailure;
    private string _peer = "";
    private ulong _pagesTotal;

    internal AgentSession(SessionToken token, AgentOptions options, ILogger logger)
    {
        Token = token;
        _options = options;
        _logger = logger;
        _status = new StatusWriter(reason => AgentLog.NoStatus(_logger, Token.Name, reason));
        _lanes = new PageLaneThreads(Post);
        _lanes.BeginEpoch(_epoch);
    }

    internal SessionToken Token { get; }

    /// <summary>Memory that has been promised to other sessions of the agent and is not filled yet.</summary>
    internal Func<ulong> PromisedToOthers { get; init; } = static () => 0;

    /// <summary>Held while it is judged whether another container fits beside what was promised: what is promised to one must not be promised to the next.</summary>
    internal SemaphoreSlim Judging { get; init; } = new(1);

    /// <summary>Memory that this session will fill yet. Any thread may ask.</summary>
    internal ulong PromisedBytes => !_accepted || !NeedsPages ? 0 : _memory is { } memory ? PageSize.ToBytes((ulong)memory.Counters.Remaining) : _container.MemoryBytes;

    /// <summary>Completes when nothing of the session is left.</summary>
    internal Task Ended => _ended.Task;

    /// <summary>A page lane of the source. Throws <see cref="ProtocolException"/> when the session has one of this role already.</summary>
    internal void Attach(LaneRole role, uint epoch, SocketLane lane, byte[] proof) => _lanes.Attach(role, epoch, lane, proof);

    /// <summary>The source has connected anew: its lanes take the place of those there were, of which it may know more than this side.</summary>
    internal void Reattach(uint epoch, SocketLane lane, byte[] proof)
    {
        lock (_reattaching)
        {
            if (_isOver || epoch <= _epoch)
            {
                throw new ProtocolException(WireErrorCode.Taken, _isOver ? "the session is ending" : $"the session has a connection of epoch {_epoch} already");
            }

            _epoch = epoch;
            _lanes.BeginEpoch(epoch);
            LaneOpening.Acknowledge(lane, proof);
            Post(new SessionEvent.Reconnected(new ControlChannel(lane, Token.Name)));
        }
    }

    /// <summary>
    /// The agent is to stop: what has not been handed off is given back; what has been is completed first. A last word that the source is not there to hear is left to
    /// the next agent.
    /// </summary>
    internal void AskToStop() => Post(new SessionEvent.Stop());

    /// <summary>The source was gone before it heard that it is welcome.</summary>
    internal void NeverBegan() => _ended.SetResult();

    internal async Task RunAsync(SocketLane controlLane)
    {
        try
        {
            _control = new ControlChannel(controlLane, Token.Name);
            if (await PrepareAsync().ConfigureAwait(false))
            {
                Watch(PumpMessagesAsync(_control));
                await HandleEventsAsync().ConfigureAwait(false);
            }
        }
        catch (ControlEndedException e)
        {
            AgentLog.NotTaken(_logger, Token.Name, _container.ContainerId, e.Message);
        }
        catch (ProtocolException e)
        {
            _control!.Reject(e);
            AgentLog.NotTaken(_logger, Token.Name, _container.ContainerId, e.Message);
        }
        finally
        {
            await EndAsync().ConfigureAwait(false);
        }
    }

    private void Post(SessionEvent what) => _events.Writer.TryWrite(what);

    /// <summary>For what goes on beside the queue: its failure is an event as all others.</summary>
    private void Watch(Task work) => _ = work.ContinueWith(
        failed => Post(new SessionEvent.Failed(failed.Exception!.InnerException!)),
        CancellationToken.None,
        TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously,
        TaskScheduler.Default);

    /// <summary>Hears what is to come and judges whether it can be taken. False when it cannot; the source was told.</summary>
    private async Task<bool> PrepareAsync()
    {
        using CancellationTokenSource deadline = new(_options.StepDeadline);
        try
        {
            ControlMessage first = await _control!.ReceiveAsync(deadline.Token).ConfigureAwait(false);
            if (first.Kind == FrameKind.CheckRequest)
            {
                HostCheckReport report = await HostCheck.RunAsync(new HostCheckOptions { StateDirectory = _options.StateDirectory }, deadline.Token).ConfigureAwait(false);
                _control.Send(FrameKind.CheckReport, new CheckReport { Json = report.ToJson(), BootId = BootId.OfThisHost });
                return false;
            }

            _container = first.As<Prepare>();
        }
        catch (OperationCanceledException)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"control lane: no Prepare came within {_options.StepDeadline.TotalSeconds} s");
        }

        _peer = _control.Lane.Peer;
        AgentLog.Arrives(_logger, Token.Name, _container.ContainerId, _control.Lane.Peer);
        deadline.CancelAfter(StepDeadline);
        Prepared answer = await JudgeAsync(deadline.Token).ConfigureAwait(false);
        if (answer.Refusals.Count == 0)
        {
            try
            {
                SetUp();
                answer.PreCopy = TryStage();
            }
            catch (IOException e)
            {
                answer.Refusals.Add(e.Message);
            }
        }

        _accepted = answer.Refusals.Count == 0;
        _control.Send(FrameKind.Prepared, answer);
        if (_accepted)
        {
            return true;
        }

        AgentLog.NotTaken(_logger, Token.Name, _container.ContainerId, string.Join("; ", answer.Refusals));
        return false;
    }

    private async Task<Prepared> JudgeAsync(CancellationToken cancellation)
    {
        await Judging.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            Prepared answer = await ArrivalChecks.RunAsync(_container, _options, PromisedToOthers(), cancellation).ConfigureAwait(false);
            answer.BootId = BootId.OfThisHost;
            _accepted = answer.Refusals.Count == 0;
            return answer;
        }
        finally
        {
            Judging.Release();
        }
    }

    /// <summary>Everything that can be made before the freeze, so that it costs no downtime.</summary>
    private void SetUp()
    {
        string program = _options.KeeperProgram ?? throw new IOException("the agent does not know its own program (KeeperProgram): it cannot start a keeper");
        _criu = CriuSession.Create(_options.StateDirectory, Token.Name + SessionDirectory.DestinationSuffix, _container.TcpEstablished, _container.CriuConfig);
        _inbox = new ImageInbox(_criu.ImageDirectory);
        _journal = EventJournal.Create(Path.Combine(_criu.Directory, KeeperProtocol.JournalName));
        UseKeeper(new KeeperProcess(program, _criu.Directory));
        Save(new DestinationRecord { Token = Token.ToHex(), Prepare = _container.ToByteArray(), Peer = _peer });
    }

    /// <summary>Pages are taken before the freeze if the source has asked for that and there is room.</summary>
    private bool TryStage()
    {
        if (!_container.PreCopy || !_options.Staging.IsOpen)
        {
            return false;
        }

        _lanes.StartStaging(new StagedMemory(_options.Staging), _container.Checksums);
        return true;
    }

    private async Task PumpMessagesAsync(ControlChannel control)
    {
        try
        {
            while (true)
            {
                await _messageSlots.WaitAsync().ConfigureAwait(false);
                Post(new SessionEvent.Message(await control.ReceiveAsync(CancellationToken.None).ConfigureAwait(false)));
            }
        }
        catch (ControlEndedException e)
        {
            _messageSlots.Release();
            Post(new SessionEvent.LinkLost(control, e.Message));
        }
    }

    private async Task HandleEventsAsync()
    {
        _ticks = new Timer(_ => Post(new SessionEvent.Tick()), null, ProgressEvery, ProgressEvery);
        StartDeadline();
        while (!IsSettled && !IsLeftToTheNext)
        {
            SessionEvent what = await _events.Reader.ReadAsync().ConfigureAwait(false);
            try
            {
                await HandleAsync(what).ConfigureAwait(false);
            }
            catch (ProtocolException e)
            {
                // The pump of messages hears that the link has ended; what that means is the state's to say.
                _errors.Add(e.Message);
                _control!.Reject(e);
            }
            catch (Exception e) when (IsBeforeTheHandOff)
            {
                // Every failure has the same cure.
                _errors.Add(e.Message);
                await AdvanceAsync(DestinationInput.BuildFailed).ConfigureAwait(false);
            }
            catch (Exception e)
            {
                // The copy runs, or may: whatever failed here, its pages must be fetched and its source be told.
                _sayAgain = true;
                if (e.Message != _lastFailure)
                {
                    _lastFailure = e.Message;
                    AgentLog.WentOn(_logger, e, Token.Name, _container.ContainerId);
                }
            }
        }
    }

    private bool IsBeforeTheHandOff => _state is DestinationState.Receiving or DestinationState.Building or DestinationState.Asking;

    /// <summary>
    /// Whether nobody will ask about this session again. A source that asked may not have heard the answer, and goes by it: so what became of the
    /// copy is kept until the source is known to know.
    /// </summary>
    private bool IsSettled => _state switch
    {
        DestinationState.Done => true,
        _ when _forget => true,
        DestinationState.NeverRan => _linkLost && (!_asked || _sourceSaidNo || _sourceSaidGoodbye),
        _ => false,
    };

    /// <summary>The agent stops and nothing is owed: that a source has not heard so yet is no reason to stay. The records tell the next agent what to say.</summary>
    private bool IsLeftToTheNext => _agentStops && _linkLost && !NeedsPages;

    private void TellProgress()
    {
        if (_memory is { } memory && !_drained && !_linkLost)
        {
            TrySend(FrameKind.Progress, new Progress { RemainingPages = (ulong)memory.Counters.Remaining, Faults = (ulong)memory.Counters.Faults, ShortOfMemory = memory.IsShortOfMemory });
        }
    }

    private void LetExitedTasksGo()
    {
        if (_state is DestinationState.MayRun or DestinationState.Running && !_drained)
        {
            _memory?.RetireExited();
        }
    }

    private bool NeedsPages => _state is not (DestinationState.NeverRan or DestinationState.Complete or DestinationState.Done);

    private async Task HandleAsync(SessionEvent what)
    {
        switch (what)
        {
            case SessionEvent.Message { Value: var message }:
                _messageSlots.Release();
                await HandleMessageAsync(message).ConfigureAwait(false);
                break;
            case SessionEvent.Step { Value: var step } when _state != DestinationState.NeverRan:
                await HandleStepAsync(step).ConfigureAwait(false);
                break;
            case SessionEvent.RestoreEnded { Status: var status } when _state != DestinationState.NeverRan:
                await HandleRestoreEndedAsync(status).ConfigureAwait(false);
                break;
            case SessionEvent.ReadyToRun:
                _readyToRun = true;
                await AskOrFinishAsync().ConfigureAwait(false);
                break;
            case SessionEvent.Drained:
                _drained = true;
                _awake?.Dispose();
                _drainedUs = WallClock.NowUs;
                await AskOrFinishAsync().ConfigureAwait(false);
                break;
            case SessionEvent.LinkLost { Control: var control, Reason: var reason } when control == _control && !_linkLost:
                await LoseLinkAsync($"the connection to the source ended: {reason}").ConfigureAwait(false);
                break;
            case SessionEvent.LaneBroken { Epoch: var epoch, Reason: var reason } when epoch == _epoch && !_linkLost && NeedsPages:
                await LoseLinkAsync(reason).ConfigureAwait(false);
                break;
            case SessionEvent.Reconnected { Control: var control }:
                await ReconnectAsync(control).ConfigureAwait(false);
                break;
            case SessionEvent.MemoryFailed { Reason: var reason }:
                await LoseMemoryAsync(reason).ConfigureAwait(false);
                break;
            case SessionEvent.ContainerDied:
                // Whoever needed the missing pages is gone: nothing is owed any more.
                _containerDied = true;
                await AdvanceAsync(DestinationInput.AllPagesIn).ConfigureAwait(false);
                break;
            case SessionEvent.GiveUp { Reason: var reason } when IsBeforeTheHandOff:
                _errors.Add(reason);
                await AdvanceAsync(DestinationInput.GiveUp).ConfigureAwait(false);
                break;
            case SessionEvent.Stop:
                _agentStops = true;
                if (IsBeforeTheHandOff)
                {
                    _errors.Add("the agent on the destination is being stopped");
                    await AdvanceAsync(DestinationInput.GiveUp).ConfigureAwait(false);
                }

                break;
            case SessionEvent.Failed { Error: var error }:
                ExceptionDispatchInfo.Throw(error);
                break;
            case SessionEvent.KeeperEnded { Keeper: var keeper } when keeper == _keeper:
                await HandleKeeperDeathAsync().ConfigureAwait(false);
                break;
            case SessionEvent.Tick:
                TellStatus();
                TellProgress();
                LetExitedTasksGo();
                KillHungRestore();
                await SayAgainAsync().ConfigureAwait(false);
                await LookForLossAsync().ConfigureAwait(false);
                break;
            default:
                break;
        }
    }

    private async Task HandleMessageAsync(ControlMessage message)
    {
        switch (message.Kind)
        {
            case FrameKind.ImageChunk when _state == DestinationState.Receiving:
                HearOfImages();
                _inbox!.Write(message.As<ImageChunk>());
                break;
            case FrameKind.Freezing when _state == DestinationState.Receiving && _restore is null:
                HearOfFreeze();
                _inbox!.HoldReaders();
                StartRestore();
                break;
            case FrameKind.ImagesDone when _state == DestinationState.Receiving:
                // CRIU goes on from here. Its connection may wait in the socket's queue until we have read the images, too.
                _inbox!.Complete(message.As<ImagesDone>());
                _built.ImagesCompleteUs = WallClock.NowUs;
                await AdvanceAsync(DestinationInput.ImagesComplete).ConfigureAwait(false);
                ServeMemory();
                break;
            case FrameKind.Decision when message.As<Control.Messages.Decision>().MayRun:
                await AdvanceAsync(DestinationInput.PeerSaysYes).ConfigureAwait(false);
                break;
            case FrameKind.Decision or FrameKind.Cancel:
                _sourceSaidNo = true;
                await AdvanceAsync(DestinationInput.PeerSaysNo).ConfigureAwait(false);
                break;
            case FrameKind.Discarded:
                await AdvanceAsync(DestinationInput.PeerDiscarded).ConfigureAwait(false);
                break;
            case FrameKind.MemoryLost:
                await LoseSourceAsync(message.As<MemoryLost>().Reason).ConfigureAwait(false);
                break;
            case FrameKind.ImageChunk or FrameKind.ImagesDone or FrameKind.Freezing when _state != DestinationState.Receiving:
                // Sent before the source heard that this side has given up.
                break;
            default:
                throw new ProtocolException(WireErrorCode.ProtocolViolation, $"control lane: a {message.Kind} frame came in state {_state}");
        }
    }

    /// <summary>From the images: which pages are owed. From here on CRIU is heard, and page lanes are served.</summary>
    private void ServeMemory()
    {
        MakeMemory();
        _socket!.Serve(_memory!.Add, _keeper!.KeepConnection);
        _lanes.Start(_memory, _container.Checksums);
    }

    private void MakeMemory()
    {
        OwedMemory owed = OwedMemory.From(ImageDirectory.Open(_criu!.ImageDirectory));
        _pagesTotal = owed.TotalPages;
        _wipedOnFork = owed.WipedOnFork;
        LazyMemory memory = new(owed.Ranges, _lanes.Demand, _keeper!, _logger, _journal);
        memory.Failed += e => Post(new SessionEvent.MemoryFailed(e.Message));
        Watch(TellDrainedAsync(memory));
        _memory = memory;
    }

    private async Task TellDrainedAsync(LazyMemory memory)
    {
        await memory.Drained.ConfigureAwait(false);
        Post(new SessionEvent.Drained());
    }

    private void Save(DestinationRecord record)
    {
        _record = record;
        record.Save(_criu!.Directory);
    }
}
