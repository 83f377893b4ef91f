using System.Net.Sockets;
using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Criu;
using PostCopy.Faults;
using PostCopy.HandOff;
using PostCopy.Linux;
using PostCopy.Pages;
using PostCopy.Restore;
using PostCopy.Wire;

namespace PostCopy.Agent;

/// <summary>Does what the hand-off's state machine says, and nothing about the right to run that it does not say.</summary>
internal sealed partial class AgentSession
{
    private static readonly TimeSpan DestroyDeadline = TimeSpan.FromSeconds(60);

    /// <summary>For CRIU to undo what it built. Then it is killed, with whatever it has built: nothing of that ever ran.</summary>
    private static readonly TimeSpan UndoPatience = TimeSpan.FromSeconds(10);

    private readonly Built _built = new();
    private DestinationState _state = DestinationState.Receiving;
    private bool _containerDied;
    private long _failedToRunAt;
    private bool _restored;
    private string? _socketError;
    private string? _failedBecause;
    private long _drainedUs;

    private async Task AdvanceAsync(DestinationInput input)
    {
        (DestinationState next, DestinationActions actions) = DestinationHandOff.On(_state, input);
        AgentLog.Advanced(_logger, Token.Name, _state, input, next, actions);
        if (next != _state)
        {
            _state = next;
            BeginStep();
        }

        TellStatus();
        if (await PerformAsync(actions).ConfigureAwait(false) is { } follows)
        {
            await AdvanceAsync(follows).ConfigureAwait(false);
        }
    }

    private async Task<DestinationInput?> PerformAsync(DestinationActions actions)
    {
        DestinationInput? follows = null;

        if (actions.HasFlag(DestinationActions.Build))
        {
            if (_restore is null)
            {
                StartRestore();
            }
        }

        if (actions.HasFlag(DestinationActions.Ask))
        {
            TrySend(FrameKind.Built, _built);
            await AskOrFinishAsync().ConfigureAwait(false);
        }

        if (actions.HasFlag(DestinationActions.RecordMayRun))
        {
            follows = Record(HandOffWords.MayRun);
        }

        if (actions.HasFlag(DestinationActions.RecordNeverRan))
        {
            follows = Record(HandOffWords.NeverRan);
        }

        if (actions.HasFlag(DestinationActions.RecordReturned))
        {
            _criu!.Hook.Returned.Write(HandOffWords.NeverRan);
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
            _criu!.Hook.Drained.Write(CompleteWord);
            TrySend(FrameKind.Drained, DrainedMessage());
            AgentLog.Complete(_logger, Token.Name, _container.ContainerId);
        }

        return follows;
    }

    /// <summary>Behind the hand-off: what could not be done or said, for want of room for a record, for example.</summary>
    private async Task SayAgainAsync()
    {
        if (_sayAgain && !_linkLost)
        {
            _sayAgain = false;
            await PerformAsync(DestinationHandOff.Repeat(_state)).ConfigureAwait(false);
        }
    }

    private DestinationInput Record(string word) =>
        _criu!.Hook.Decision.Write(word) == HandOffWords.MayRun ? DestinationInput.RecordedMayRun : DestinationInput.RecordedNeverRan;

    // What is lost here the source asks for again, or finds out by the same record.
    private void TrySend(FrameKind kind, Google.Protobuf.IMessage? body = null)
    {
        try
        {
            _control?.Send(kind, body);
        }
        catch (ControlEndedException)
        {
            // The pump of messages tells the session.
        }
    }

    private void StartRestore()
    {
        // Before CRIU looks for it.
        _socket = new LazyPagesSocket(_criu!.WorkDirectory);
        _restore = RestoreEngine.For(_container, _options).Start(_criu!);
        Save(_record! with { Restore = ProcessIdentity.Of(_restore.Pid) });
        Watch(PumpStepsAsync());
        Watch(PumpExitAsync(_restore));
        Watch(PumpSocketAsync());
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
        catch (Exception e) when (e is LinuxException or ArgumentException)
        {
            // A userfaultfd could not be kept: CRIU would wait for ever for pages that nobody is asked for.
            Post(new SessionEvent.GiveUp($"the memory of the copy cannot be served: {e.Message}"));
        }
        catch (Exception e) when (e is IOException or SocketException)
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
                Save(_record! with { Init = ProcessIdentity.Of(_initPid) });
                _awake = _options.KeepCpusAwake ? AwakeCpus.TryHold() : null;
                _keeper!.Watch(step.InitPid);
                if (FreezerCgroup.TryAround(step.InitPid, TaskTree.Map(step.InitPid).Values) is { } freezer)
                {
                    _criu!.Hook.FreezeWhileLettingGo(freezer);
                }

                if (_container.Collapse)
                {
                    _joiner = HugePageJoiner.TryStart(_memory!, step.InitPid);
                }

                // At this step every task has registered its memory and parked: pages nobody asked for may be installed.
                _memory!.RestoreFinished();
                if (_container.StopCopy)
                {
                    TasksRun();
                }

                _readyToRun = _memory.AreIn(_wipedOnFork);
                if (!_readyToRun)
                {
                    Watch(BringWipedOnForkAsync(_memory));
                }

                await AdvanceAsync(DestinationInput.FenceReached).ConfigureAwait(false);
                break;
            case CriuStep.PreResume when !_criu!.Hook.MayHaveRun:
                // CRIU lets the tasks go, and they are frozen.
                break;
            case CriuStep.PreResume:
                await AdvanceAsync(DestinationInput.Resumed).ConfigureAwait(false);
                break;
            case CriuStep.PostResume:
                await AdvanceAsync(DestinationInput.Resumed).ConfigureAwait(false);
                AgentLog.Runs(_logger, Token.Name, _container.ContainerId, _memory!.Counters.Remaining);
                TasksRun();
                TrySend(FrameKind.Resumed, new Resumed { ResumedUs = step.AtUs });
                break;
            default:
                break;
        }
    }

    /// <summary>A round trip, for the few containers that have such memory: keys and states of random generators.</summary>
    private async Task BringWipedOnForkAsync(LazyMemory memory)
    {
        memory.Fetch(_wipedOnFork);
        while (!memory.AreIn(_wipedOnFork))
        {
            await Task.Delay(TimeSpan.FromMilliseconds(1)).ConfigureAwait(false);
        }

        Post(new SessionEvent.ReadyToRun());
    }

    /// <summary>What they have waited for is over: nothing needs to stand back any more.</summary>
    private void TasksRun()
    {
        _lanes.TasksRun();
        _joiner?.TasksRun();
    }

    /// <summary>
    /// Asks for the word when the copy may be let go: as soon as it is complete but for the memory that may follow; in stop-copy none may. Reports the end when
    /// everything is here and runc, too, has done its part: if it fails, the source must not discard anything.
    /// </summary>
    private async Task AskOrFinishAsync()
    {
        if (_state == DestinationState.Asking && _readyToRun && (!_container.StopCopy || _drained))
        {
            _asked = true;
            BeginStep();
            _criu!.Hook.Asked.Write("asked");
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
            if (_restore is not null)
            {
                // Where CRIU's post-resume script could not. An agent that comes later must not: by then it may be the user who has paused the container.
                CriuHook.FreezerIn(_criu!.Directory)?.Thaw();
            }

            _restored = true;
            TasksRun();
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
        else if (await IsUnrunAsync().ConfigureAwait(false))
        {
            await AdvanceAsync(DestinationInput.FailedUnrun).ConfigureAwait(false);
        }
        else
        {
            _failedBecause = reason + "; it cannot be proved that no task ran";
            TrySend(FrameKind.Failed, new Failed { Error = _failedBecause });
        }
    }

    /// <summary>
    /// Whether it is certain that no task of a failed restore ran: CRIU says that it killed them before it let any go; or it is dead, as is its script, and they are still
    /// as frozen as that script has left them.
    /// </summary>
    private async Task<bool> IsUnrunAsync()
    {
        for (long late = Environment.TickCount64 + (long)UndoPatience.TotalMilliseconds; IsHeld() && ProcessOffspring.Exists(_record!.Restore) && Environment.TickCount64 < late;)
        {
            // runc is dead, and CRIU may yet let them go.
            await Task.Delay(TimeSpan.FromMilliseconds(10)).ConfigureAwait(false);
        }

        // In this order: who is dead lets nobody go after the look at the freezer.
        return !_criu!.Hook.MayHaveRun && (CriuLog.SaysRestoreFailed(_criu.RestoreLog) || (!ProcessOffspring.Exists(_record!.Restore) && IsHeld()));

        bool IsHeld() => !_criu!.Hook.MayHaveRun && CriuHook.FreezerIn(_criu.Directory) is { IsFrozen: true };
    }

    /// <summary>
    /// CRIU may fail behind the yes and before any task runs. It then kills them, and where they have threads it waits for ever: for the first of them, which does not
    /// end while CRIU itself has not seen the end of the others.
    /// </summary>
    private void KillHungRestore()
    {
        if (_state != DestinationState.MayRun || _criu!.Hook.MayHaveRun || !CriuLog.SaysRestoreFailed(_criu.RestoreLog))
        {
            _failedToRunAt = 0;
        }
        else if (_failedToRunAt == 0)
        {
            _failedToRunAt = Environment.TickCount64;
        }
        else if (Environment.TickCount64 - _failedToRunAt > UndoPatience.TotalMilliseconds)
        {
            ProcessOffspring.Kill(_record!.Restore);
        }
    }

    /// <summary>Refuses at the fence, which makes CRIU kill the copy, and removes what is left.</summary>
    private async Task DestroyAsync()
    {
        Task? ended = _restore?.WaitAsync(CancellationToken.None) ?? _record?.Restore.WaitForEndAsync();
        if (ended is null)
        {
            return;
        }

        using CancellationTokenSource deadline = new(DestroyDeadline);
        try
        {
            // Should CRIU not have come to the fence yet, the answer waits for it.
            _criu!.Hook.Answer(yes: false);
            // No task of it will ever run, so what its memory holds matters no more; but CRIU must not wait for pages that do not come.
            _lanes.BeginEpoch(_epoch);
            _inbox?.Dispose();
            InventoryGate.LetReadersFail(_criu.ImageDirectory);
            _socket?.Dispose();
            await LetMemoryGoAsync(owed: false).ConfigureAwait(false);
            await AwaitUndoAsync(_record!.Restore, deadline.Token).ConfigureAwait(false);
            await ended.WaitAsync(deadline.Token).ConfigureAwait(false);
            await KillHeldCopyAsync(deadline.Token).ConfigureAwait(false);
            await RestoreEngine.For(_container, _options).RemoveAsync(_criu, deadline.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            _errors.Add($"the unrun copy could not be removed ({e.Message}): runc delete --force {_container.ContainerId} on this host");
        }
    }

    /// <summary>What a CRIU that is dead has left behind, frozen. Until it is gone: its cgroups cannot be removed before that.</summary>
    private async Task KillHeldCopyAsync(CancellationToken cancellation)
    {
        if (CriuHook.FreezerIn(_criu!.Directory) is { IsFrozen: true } freezer)
        {
            await freezer.KillAllAsync(cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Until neither runc nor CRIU nor anything that they built is left, whichever of them was killed before.</summary>
    private async Task AwaitUndoAsync(ProcessIdentity restore, CancellationToken cancellation)
    {
        long late = Environment.TickCount64 + (long)UndoPatience.TotalMilliseconds;
        while (ProcessOffspring.Exists(restore))
        {
            if (Environment.TickCount64 > late)
            {
                _errors.Add($"CRIU did not end within {UndoPatience.TotalSeconds} s and was killed, with the copy that it had built");
                ProcessOffspring.Kill(restore);
            }

            await Task.Delay(TimeSpan.FromMilliseconds(10), cancellation).ConfigureAwait(false);
        }
    }

    private Drained DrainedMessage()
    {
        if (_memory is not { } memory)
        {
            // An agent that came after it was complete was not there to count.
            return new Drained { DrainedUs = WallClock.NowUs };
        }

        FaultCounters counters = memory.Counters;
        LatencyHistogram latency = memory.FaultLatency;
        return new Drained
        {
            DroppedPages = (ulong)counters.Dropped,
            Faults = (ulong)latency.Count,
            FaultP50Us = latency.PercentileMicroseconds(0.5),
            FaultP99Us = latency.PercentileMicroseconds(0.99),
            FaultMaxUs = latency.MaxMicroseconds,
            DrainedUs = _drainedUs,
            LocalFaults = (ulong)counters.LocalFaults,
        };
    }
}
