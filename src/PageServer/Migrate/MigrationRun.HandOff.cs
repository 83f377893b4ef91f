using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.HandOff;
using PostCopy.Pages;
using PostCopy.Wire;
using Decision = PostCopy.Control.Messages.Decision;

namespace PostCopy.Migrate;

/// <summary>Does what the hand-off's state machine says, and nothing about the right to run that it does not say.</summary>
internal sealed partial class MigrationRun
{
    private const string DrainedWord = "drained";
    private const string DestinationIsDeadWord = "destination-is-dead";

    private static readonly TimeSpan CleanUpDeadline = TimeSpan.FromSeconds(60);

    /// <summary>How long a destination that cannot be reached is told that the container runs here again. It finds out by itself, too, only later.</summary>
    private static readonly TimeSpan RollBackPatience = TimeSpan.FromSeconds(5);

    /// <summary>How long a destination whose page lane broke has to say why on the control lane.</summary>
    private static readonly TimeSpan TimeForExplanation = TimeSpan.FromSeconds(2);

    private SourceState _state = SourceState.Preparing;
    private Task<ControlMessage>? _nextMessage;
    private bool _neverRanHeard;

    private async Task AdvanceAsync(SourceInput input)
    {
        (SourceState next, SourceActions actions) = SourceHandOff.On(_state, input);
        MigrateLog.Advanced(_logger, _session.Name, _state, input, next, actions);
        _state = next;
        TellStatus();
        if (await PerformAsync(actions).ConfigureAwait(false) is { } follows)
        {
            await AdvanceAsync(follows).ConfigureAwait(false);
        }
    }

    private async Task<SourceInput?> PerformAsync(SourceActions actions)
    {
        SourceInput? follows = null;

        if (actions.HasFlag(SourceActions.FreezeAgain))
        {
            FreezeAgain();
        }

        if (actions.HasFlag(SourceActions.RecordHandedOff))
        {
            follows = Record(HandOffWords.HandedOff);
        }

        if (actions.HasFlag(SourceActions.RecordCancelled))
        {
            follows = Record(HandOffWords.Cancelled);
        }

        if (actions.HasFlag(SourceActions.RecordReturned))
        {
            _criu!.Hook.Returned.Write(HandOffWords.NeverRan);
        }

        if (actions.HasFlag(SourceActions.RecordDrained))
        {
            _criu!.Hook.Drained.Write(DrainedWord);
        }

        if (actions.HasFlag(SourceActions.SayYes))
        {
            TrySend(FrameKind.Decision, new Decision { MayRun = true });
        }

        if (actions.HasFlag(SourceActions.SayNo))
        {
            TrySend(FrameKind.Cancel, new Cancel { Reason = _errors.FirstOrDefault() ?? "" });
        }

        if (actions.HasFlag(SourceActions.Resume))
        {
            await ResumeAsync().ConfigureAwait(false);
        }

        if (actions.HasFlag(SourceActions.Kill))
        {
            await KillAsync().ConfigureAwait(false);
            follows = SourceInput.Killed;
        }

        if (actions.HasFlag(SourceActions.SayDiscarded))
        {
            TrySend(FrameKind.Discarded);
        }

        return follows;
    }

    /// <summary>
    /// The second freeze holds the tasks when CRIU, which holds them now, is killed. Were it dead already, they would have run on since the dump,
    /// and the images would be of the past.
    /// </summary>
    private void FreezeAgain()
    {
        if (TaskTree.FreezeAgain(_freezer!, _tasks) is { } free)
        {
            throw new MigrationException($"CRIU let go of the container after the dump (pid {free} ran on): its images are not current any more");
        }
    }

    private SourceInput Record(string word) =>
        _criu!.Hook.Decision.Write(word) == HandOffWords.HandedOff ? SourceInput.RecordedHandedOff : SourceInput.RecordedCancelled;

    // What is lost here is asked for again: the destination repeats its questions, and the record gives the same answers.
    private void TrySend(FrameKind kind, Google.Protobuf.IMessage? body = null)
    {
        try
        {
            _control?.Send(kind, body);
        }
        catch (ControlEndedException)
        {
            // Whoever waits for the destination's next message is told.
        }
    }

    /// <summary>
    /// Behind the hand-off: serves until the destination has everything, or gives the right to run back, whatever becomes of the connection. Ends
    /// before that only when the user no longer wants to wait, or the destination says that it cannot go on.
    /// </summary>
    private async Task<MigrationOutcome> FinishAsync(CancellationToken leave)
    {
        if (_state == SourceState.HandedOff)
        {
            _progress.Enter(MigrationPhase.Draining);
        }

        // Who wants to leave hears why nothing happens, before somebody kills this process.
        using CancellationTokenRegistration wish = _state == SourceState.HandedOff ? leave.Register(() => MigrateLog.TooLateToCancel(_logger, _session.Name)) : default;
        while (_state == SourceState.HandedOff)
        {
            try
            {
                await HandleAsync(await ReceiveOrBrokenAsync(CancellationToken.None).ConfigureAwait(false)).ConfigureAwait(false);
            }
            catch (DestinationFailedException e)
            {
                return KeepFrozenCopy(e.Message);
            }
            catch (MemoryLostException e)
            {
                return await LoseMemoryAsync(e.Message).ConfigureAwait(false);
            }
            catch (IOException e) when (_state == SourceState.HandedOff)
            {
                if (!await ReconnectAsync(e.Message, leave).ConfigureAwait(false))
                {
                    return KeepFrozenCopy(e.Message);
                }
            }
        }

        return _state == SourceState.RolledBack ? await RolledBackAsync().ConfigureAwait(false) : await MovedAsync().ConfigureAwait(false);
    }

    private MigrationOutcome KeepFrozenCopy(string reason)
    {
        _progress.Stall(reason);
        string owed = _state == SourceState.HandedOff ? $"{_progress.PagesRemaining} pages are still owed to the destination" : "the frozen copy could not be removed";
        _errors.Add($"{reason}; {owed}. The frozen copy stays here; do not thaw it: " +
            $"the container may be running on {_options.Destination}. To go on: postcopy migrate --resume {_session.Name}{InStateDirectory}");
        _keepFiles = true;
        return MigrationOutcome.HandedOff;
    }

    private async Task HandleAsync(ControlMessage message)
    {
        switch (message.Kind)
        {
            case FrameKind.Ask:
                await AdvanceAsync(SourceInput.PeerAsks).ConfigureAwait(false);
                break;
            case FrameKind.Resumed:
                _times.ResumedUs = _control!.Clock.ToOurUs(message.As<Resumed>().ResumedUs);
                _lanes!.TasksRun();
                break;
            case FrameKind.Progress:
                _progress.Unreadable = _unreadable.Summary;
                _progress.Tell(message.As<Progress>());
                TellStatus(_unreadable.Summary ?? "");
                break;
            case FrameKind.Drained:
                _drained = message.As<Drained>();
                _times.DrainedUs = _control!.Clock.ToOurUs(_drained.DrainedUs);
                _progress.Enter(MigrationPhase.Discarding);
                await AdvanceAsync(SourceInput.PeerDrained).ConfigureAwait(false);
                break;
            case FrameKind.Built:
                // Repeated with the question.
                break;
            case FrameKind.NeverRan:
                _neverRanHeard = true;
                _errors.AddRange(message.As<NeverRan>().Errors.Select(static error => "destination: " + error));
                await AdvanceAsync(SourceInput.PeerNeverRan).ConfigureAwait(false);
                break;
            case FrameKind.Failed:
                throw new DestinationFailedException("destination: " + message.As<Failed>().Error);
            default:
                throw new ProtocolException(WireErrorCode.ProtocolViolation, $"control lane: a {message.Kind} frame came while pages were owed");
        }
    }

    private async Task<MigrationOutcome> RolledBackAsync()
    {
        _progress.Enter(MigrationPhase.RollingBack);
        // The destination confirms that it destroyed its copy; whether it does changes nothing about who may run.
        if (!_neverRanHeard && await AwaitLastWordAsync(SourceState.RolledBack, static message => message.Kind == FrameKind.NeverRan, RollBackPatience).ConfigureAwait(false) is { } reason)
        {
            _errors.Add($"the destination did not confirm that its copy is gone ({reason}); it was never allowed to run and its agent removes it");
        }

        if (!_record!.Init.IsAlive)
        {
            _errors.Add($"the first process of {_engine.Subject} (pid {_record.Init.Pid}) has died while it was frozen: it runs nowhere");
            return MigrationOutcome.Lost;
        }

        return MigrationOutcome.RolledBack;
    }

    private async Task<MigrationOutcome> MovedAsync()
    {
        using CancellationTokenSource deadline = new(CleanUpDeadline);
        try
        {
            await RemoveContainerAsync(deadline.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException)
        {
            _errors.Add($"the container has moved, but something of it is left here: {e.Message}");
        }

        if (await AwaitLastWordAsync(SourceState.Done, static _ => false, CleanUpDeadline).ConfigureAwait(false) is { } reason)
        {
            _errors.Add($"the container has moved, but the destination's agent may not know that nothing is left here ({reason}); there: postcopy abort {_session.Name}");
        }

        _progress.Enter(MigrationPhase.Done);
        return MigrationOutcome.Moved;
    }

    private async Task RemoveContainerAsync(CancellationToken cancellation)
    {
        await _engine.RemoveAsync(_criu!, cancellation).ConfigureAwait(false);
        if (_networkLock is not null)
        {
            await _networkLock.RemoveAsync(cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Lets CRIU undo the dump. The tasks run again when this returns, or an error says why not.</summary>
    private async Task ResumeAsync()
    {
        if (_checkpointEnded is null)
        {
            return;
        }

        // Should CRIU not have come to its question yet, the answer waits for it.
        _criu!.Hook.Answer(yes: false);
        using CancellationTokenSource deadline = new(CleanUpDeadline);
        try
        {
            await _checkpointEnded.WaitAsync(deadline.Token).ConfigureAwait(false);
            await _criu.Hook.CriuEndedAsync().WaitAsync(deadline.Token).ConfigureAwait(false);
            _engine.FrozenByCriu()?.Thaw();
            _freezer?.Thaw();
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            _keepFiles = true;
            string reason = e is OperationCanceledException ? $"not within {CleanUpDeadline.TotalSeconds} s" : e.Message;
            _errors.Add($"CRIU has not let the container go ({reason}): its log is {_criu.DumpLog}. Killing criu lets the container run on here; postcopy abort {_session.Name}{InStateDirectory} then puts the rest away");
            return;
        }

        try
        {
            _engine.Release(_criu);
        }
        catch (IOException e)
        {
            _keepFiles = true;
            _errors.Add($"the container runs on, but what was made around it is left: {e.Message}. postcopy abort {_session.Name}{InStateDirectory} puts it away");
        }
    }

    /// <summary>
    /// Removes the frozen copy without CRIU's page server: whoever connected to that could otherwise decide about the tasks. CRIU then finds
    /// nothing to detach from and fails, which is what is wanted.
    /// </summary>
    private async Task KillAsync()
    {
        using CancellationTokenSource deadline = new(CleanUpDeadline);
        try
        {
            await _freezer!.KillAllAsync(deadline.Token).ConfigureAwait(false);
            _criu!.Hook.Answer(yes: true);
            await _checkpointEnded!.WaitAsync(deadline.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            _keepFiles = true;
            _errors.Add($"the container has moved, but its frozen copy here could not be removed ({e.Message}); kill the processes in {_freezer!.Directory}");
        }
    }

    /// <summary>The destination's next message of this kind. Only news of its progress may come in between.</summary>
    private Task<ControlMessage> AwaitKindAsync(string what, FrameKind kind, TimeSpan deadline, CancellationToken cancellation) => WithDeadlineAsync(what, deadline, async token =>
    {
        while (true)
        {
            ControlMessage message = await ReceiveExpectedAsync(token).ConfigureAwait(false);
            if (message.Kind == kind)
            {
                return message;
            }

            _progress.Tell(message.As<Progress>());
        }
    }, cancellation);

    /// <summary>A message before the hand-off, where a refusal of the destination ends the attempt.</summary>
    private async Task<ControlMessage> ReceiveExpectedAsync(CancellationToken cancellation)
    {
        ControlMessage received = await ReceiveOrBrokenAsync(cancellation).ConfigureAwait(false);
        return received.Body is NeverRan refusal
            ? throw new MigrationException("the destination could not restore the container: " + (refusal.Errors.Count > 0 ? string.Join("; ", refusal.Errors) : "it gave no reason"))
            : received;
    }

    /// <summary>The destination's next message. A broken page lane ends the wait, unless the destination explains itself.</summary>
    private async Task<ControlMessage> ReceiveOrBrokenAsync(CancellationToken cancellation)
    {
        // Cancelling or a broken lane must not lose a message: what was not taken is taken by the next call.
        _nextMessage ??= _control!.ReceiveAsync(CancellationToken.None).AsTask();
        await Task.WhenAny(_nextMessage, _lanes!.Broken).WaitAsync(cancellation).ConfigureAwait(false);
        await Task.WhenAny(_nextMessage, Task.Delay(TimeForExplanation, cancellation)).ConfigureAwait(false);
        if (_lanes.MemoryIsLost)
        {
            throw new MemoryLostException(await _lanes.Broken.ConfigureAwait(false));
        }

        if (!_nextMessage.IsCompleted)
        {
            throw new MigrationException(await _lanes.Broken.ConfigureAwait(false));
        }

        Task<ControlMessage> message = _nextMessage;
        _nextMessage = null;
        return await message.ConfigureAwait(false);
    }

    private static async Task WithDeadlineAsync(string what, TimeSpan deadline, Func<CancellationToken, Task> step, CancellationToken cancellation) => await WithDeadlineAsync(what, deadline, async token =>
    {
        await step(token).ConfigureAwait(false);
        return true;
    }, cancellation).ConfigureAwait(false);

    private static async Task<T> WithDeadlineAsync<T>(string what, TimeSpan deadline, Func<CancellationToken, Task<T>> step, CancellationToken cancellation)
    {
        using CancellationTokenSource limited = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limited.CancelAfter(deadline);
        try
        {
            return await step(limited.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new MigrationException($"{what} took longer than {deadline.TotalSeconds} s");
        }
    }
}
