using System.Net.Sockets;
using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Criu;
using PostCopy.Faults;
using PostCopy.HandOff;
using PostCopy.Linux;
using PostCopy.Runc;
using PostCopy.Wire;

namespace PostCopy.Agent;

/// <summary>Does what the hand-off's state machine says, and nothing about the right to run that it does not say.</summary>
internal sealed partial class AgentSession
{
    private static readonly TimeSpan DestroyDeadline = TimeSpan.FromSeconds(60);

    private readonly Built _built = new();
    private DestinationState _state = DestinationState.Receiving;
    private bool _containerDied;
    private bool _restored;
    private string? _socketError;
    private long _drainedUs;

    private async Task AdvanceAsync(DestinationInput input)
    {
        (DestinationState next, DestinationActions actions) = DestinationHandOff.On(_state, input);
        AgentLog.Advanced(_logger, Token.Name, _state, input, next, actions);
        _state = next;
        DestinationInput? follows = null;

        if (actions.HasFlag(DestinationActions.Build))
        {
            StartRestore();
        }

        if (actions.HasFlag(DestinationActions.Ask))
        {
            TrySend(FrameKind.Built, _built);
            await AskOrFinishAsync().ConfigureAwait(false);
        }

        if (actions.HasFlag(DestinationActions.RecordMayRun))
        {
            follows = Record("may-run");
        }

        if (actions.HasFlag(DestinationActions.RecordNeverRan))
        {
            follows = Record("never-ran");
        }

        if (actions.HasFlag(DestinationActions.RecordReturned))
        {
            _criu!.Hook.Returned.Write("never-ran");
        }

        if (actions.HasFlag(DestinationActions.OpenFence))
        {
            _criu!.Hook.Answer(yes: true);
        }

        if (actions.HasFlag(DestinationActions.Destroy))
        {
            await DestroyAsync().ConfigureAwait(false);
            AgentLog.NotTaken(_logger, Token.Name, _container.ContainerId, _errors.Count > 0 ? string.Join("; ", _errors) : "the source cancelled");
        }

        if (actions.HasFlag(DestinationActions.SayNeverRan))
        {
            NeverRan message = new();
            message.Errors.AddRange(_errors);
            TrySend(FrameKind.NeverRan, message);
        }

        if (actions.HasFlag(DestinationActions.SayDrained))
        {
            TrySend(FrameKind.Drained, DrainedMessage());
            AgentLog.Complete(_logger, Token.Name, _container.ContainerId);
        }

        if (follows is { } recorded)
        {
            await AdvanceAsync(recorded).ConfigureAwait(false);
        }
    }

    private DestinationInput Record(string word) =>
        _criu!.Hook.Decision.Write(word) == "may-run" ? DestinationInput.RecordedMayRun : DestinationInput.RecordedNeverRan;

    // What is lost here the source asks for again, or finds out by the same record.
    private void TrySend(FrameKind kind, Google.Protobuf.IMessage? body = null)
    {
        try
        {
            _control!.Send(kind, body);
        }
        catch (ControlEndedException)
        {
            // The pump of messages tells the session.
        }
    }

    private void StartRestore()
    {
        RuncCommand runc = new(_options.RuncRoot);
        _built.RestoreStartedUs = WallClock.NowUs;
        _restore = runc.StartRestore(_container.ContainerId, _container.Bundle, _criu!);
        _ = PumpStepsAsync();
        _ = PumpExitAsync(_restore);
        _ = PumpSocketAsync();
    }

    private async Task PumpStepsAsync()
    {
        await foreach (CriuStep step in _criu!.Hook.Steps.ConfigureAwait(false))
        {
            Post(new SessionEvent.Step(step));
        }
    }

    private async Task PumpExitAsync(ChildProcess restore) =>
        Post(new SessionEvent.RestoreEnded(await restore.WaitAsync(CancellationToken.None).ConfigureAwait(false)));

    private async Task PumpSocketAsync()
    {
        try
        {
            await _socket!.Finished.ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or SocketException or ArgumentException)
        {
            // CRIU is ending, and its end says more than this does.
            _socketError = e.Message;
        }
    }

    private async Task HandleStepAsync(CriuStep step)
    {
        switch (step.Action)
        {
            case CriuStep.PostRestore:
                _built.BuiltUs = step.AtUs;
                _initPid = step.InitPid;
                _awake = _options.KeepCpusAwake ? AwakeCpus.TryHold() : null;
                _keeper!.Watch(step.InitPid);
                // At this step every task has registered its memory and parked: pages nobody asked for may be installed.
                _memory!.RestoreFinished();
                await AdvanceAsync(DestinationInput.FenceReached).ConfigureAwait(false);
                break;
            case CriuStep.PreResume:
                await AdvanceAsync(DestinationInput.Resumed).ConfigureAwait(false);
                AgentLog.Runs(_logger, Token.Name, _container.ContainerId, _memory!.Counters.Remaining);
                break;
            case CriuStep.PostResume:
                TrySend(FrameKind.Resumed, new Resumed { ResumedUs = step.AtUs });
                break;
            default:
                break;
        }
    }

    /// <summary>
    /// Asks for the word when the copy may be let go: as soon as it is complete, or in stop-copy when its memory is, too. Reports the end when
    /// everything is here and runc, too, has done its part: if it fails, the source must not discard anything.
    /// </summary>
    private async Task AskOrFinishAsync()
    {
        if (_state == DestinationState.Asking && (!_container.StopCopy || _drained))
        {
            TrySend(FrameKind.Ask);
        }
        else if (_state == DestinationState.Running && _drained && _restored)
        {
            await AdvanceAsync(DestinationInput.AllPagesIn).ConfigureAwait(false);
        }
    }

    private async Task HandleRestoreEndedAsync(ExitStatus status)
    {
        if (status.IsSuccess)
        {
            _restored = true;
            // CRIU goes on when it cannot start its pre-resume script: then this is the first that is heard of the tasks running.
            await AdvanceAsync(DestinationInput.Resumed).ConfigureAwait(false);
            await AskOrFinishAsync().ConfigureAwait(false);
            return;
        }

        string reason = $"CRIU could not restore the container: {CriuLog.FirstError(_criu!.RestoreLog) ?? _socketError ?? _criu.RuncOutput.LastLine} (logs kept in {_criu.KeptLogs})";
        _errors.Add(reason);
        if (_state is not (DestinationState.MayRun or DestinationState.Running))
        {
            await AdvanceAsync(DestinationInput.BuildFailed).ConfigureAwait(false);
        }
        else if (CriuLog.SaysRestoreFailed(_criu.RestoreLog) && !_criu.Hook.MayHaveRun)
        {
            await AdvanceAsync(DestinationInput.FailedUnrun).ConfigureAwait(false);
        }
        else
        {
            TrySend(FrameKind.Failed, new Failed { Error = reason + "; it cannot be proved that no task ran" });
        }
    }

    /// <summary>Something is gone that pages come through. Before the hand-off that ends the attempt; after it, tasks wait.</summary>
    private async Task LoseAsync(string reason)
    {
        switch (_state)
        {
            case DestinationState.Receiving or DestinationState.Building or DestinationState.Asking:
                _errors.Add(reason);
                await AdvanceAsync(DestinationInput.GiveUp).ConfigureAwait(false);
                break;
            case DestinationState.MayRun or DestinationState.Running when !_drained:
                _errors.Add(reason);
                AgentLog.Stalled(_logger, Token.Name, _container.ContainerId, _memory?.Counters.Remaining ?? 0, reason);
                TrySend(FrameKind.Failed, new Failed { Error = reason });
                WatchContainer();
                break;
            default:
                break;
        }
    }

    /// <summary>A stalled session ends when the container does: there is nothing left to be served then.</summary>
    private void WatchContainer() => _ = ((Func<Task>)(async () =>
    {
        await ProcessEnd.WaitAsync(_initPid).ConfigureAwait(false);
        Post(new SessionEvent.ContainerDied());
    }))();

    /// <summary>Refuses at the fence, which makes CRIU kill the copy, and removes what is left.</summary>
    private async Task DestroyAsync()
    {
        if (_restore is null)
        {
            return;
        }

        using CancellationTokenSource deadline = new(DestroyDeadline);
        try
        {
            // Should CRIU not have come to the fence yet, the answer waits for it.
            _criu!.Hook.Answer(yes: false);
            await _restore.WaitAsync(deadline.Token).ConfigureAwait(false);
            await new RuncCommand(_options.RuncRoot).DeleteAsync(_container.ContainerId, deadline.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            _errors.Add($"the unrun copy could not be removed ({e.Message}): runc delete --force {_container.ContainerId} on this host");
        }
    }

    private Drained DrainedMessage()
    {
        FaultCounters counters = _memory!.Counters;
        LatencyHistogram latency = _memory.FaultLatency;
        return new Drained
        {
            PushedPages = (ulong)counters.InstalledByPush,
            FaultedPages = (ulong)counters.InstalledByDemand,
            DroppedPages = (ulong)counters.Dropped,
            Faults = (ulong)latency.Count,
            FaultP50Us = latency.PercentileMicroseconds(0.5),
            FaultP99Us = latency.PercentileMicroseconds(0.99),
            FaultMaxUs = latency.MaxMicroseconds,
            DrainedUs = _drainedUs,
        };
    }
}
