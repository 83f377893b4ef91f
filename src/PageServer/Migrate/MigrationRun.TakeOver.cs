using System.Net.Sockets;
using PostCopy.Criu;
using PostCopy.HandOff;
using PostCopy.Linux;
using PostCopy.Runc;
using PostCopy.Sessions;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>Goes on where a process that is dead now stood: by what was recorded, never by what was only remembered.</summary>
internal sealed partial class MigrationRun
{
    private SourceRecord? _record;

    /// <summary>A migration that another process began.</summary>
    internal static MigrationRun TakeOver(string session, string stateDirectory, Microsoft.Extensions.Logging.ILogger logger, IProgress<MigrationProgress>? progress)
    {
        string name = session + SessionDirectory.SourceSuffix;
        SourceRecord record = SourceRecord.TryLoad(Path.Combine(stateDirectory, name))
            ?? throw new MigrationException($"there is no session {session} below {stateDirectory} whose source is this host");
        return new MigrationRun(record.Options with { StateDirectory = stateDirectory }, logger, progress)
        {
            _session = record.Session,
            _record = record,
            _epoch = record.Epoch,
            _criu = CriuSession.TakeOver(stateDirectory, name, record.Options.TcpEstablished),
        };
    }

    /// <summary>Serves on, or rolls back, or finishes what is left to do: as the records say.</summary>
    internal Task<MigrationReport> ResumeAsync(CancellationToken leave) => RecoverAsync(async () =>
    {
        await RecoverStateAsync().ConfigureAwait(false);
        if (_state == SourceState.HandedOff)
        {
            ReadDump(OpenDump(), _record!.Init.Pid);
            if (!await ReconnectAsync("its process had died", leave).ConfigureAwait(false))
            {
                return KeepFrozenCopy("the destination was not reached");
            }
        }

        return await FinishAsync(leave).ConfigureAwait(false);
    });

    /// <summary>
    /// Lets the container run here, as of the freeze, because the operator says that the destination is lost; or puts away what is left of an attempt
    /// that was rolled back.
    /// </summary>
    internal Task<MigrationReport> AbortAsync(bool destinationIsDead, CancellationToken cancellation) => RecoverAsync(async () =>
    {
        bool mustAsk = _criu!.Hook.Decision.Read() == HandOffWords.HandedOff && _criu.Hook.Returned.Read() is null && _criu.Hook.Drained.Read() is null;
        // Of a copy that is dead there is nothing to decide.
        if (mustAsk && _record!.Init.IsAlive)
        {
            if (!destinationIsDead)
            {
                throw new MigrationException(
                    $"{_engine.Subject} was handed off to {_options.Destination} and may be running there. Go on with: postcopy migrate --resume {_session.Name}{InStateDirectory}. " +
                    "Only if that host is lost for good: postcopy abort --destination-is-dead, which lets the container run here as it was at the freeze, " +
                    "and loses all that it did since");
            }

            await RefuseIfDestinationLivesAsync(cancellation).ConfigureAwait(false);
            if (cancellation.IsCancellationRequested)
            {
                // Perhaps that, and not the destination's silence, has ended the asking.
                throw new MigrationException("cancelled: nothing was changed");
            }

            // The fence: from here on the destination gets no page and no confirmation, whoever resumes this session.
            _criu.Hook.Returned.Write(DestinationIsDeadWord);
            _neverRanHeard = true;
            _errors.Add($"the container runs here as it was at the freeze; whatever it did on {_options.Destination} since is lost. Should that host come back, remove the container there");
        }

        await RecoverStateAsync().ConfigureAwait(false);
        return await FinishAsync(CancellationToken.None).ConfigureAwait(false);
    });

    /// <summary>
    /// One session at a time for a container or a tree: what a dead attempt left is put away when it was rolled back, and is in the way when it was not.
    /// </summary>
    private void CloseDeadAttempts(ProcessIdentity init)
    {
        foreach (string directory in Directory.Exists(_options.StateDirectory) ? Directory.GetDirectories(_options.StateDirectory, "*" + SessionDirectory.SourceSuffix) : [])
        {
            if (SourceRecord.TryLoad(directory) is not { } record
                || record.Options.ContainerId != _options.ContainerId
                || record.Options.RuncRoot != _options.RuncRoot
                || (_options.ProcessId is not null && record.Init != init))
            {
                continue;
            }

            string session = Path.GetFileName(directory)[..^SessionDirectory.SourceSuffix.Length];
            using FileStream held = SessionLock.Take(directory)
                ?? throw new MigrationException($"{_engine.Subject} is being migrated by another process (session {session})");
            bool handedOff = new WriteOnceRecord(Path.Combine(directory, HandOffWords.DecisionName)).Read() == HandOffWords.HandedOff
                && new WriteOnceRecord(Path.Combine(directory, HandOffWords.ReturnedName)).Read() is null;
            // A CRIU that has outlived its runc holds the tasks, and asks the record what to do with them.
            if (handedOff || record.Checkpoint.Exists || CriuHook.CriuIn(directory) is { Exists: true })
            {
                throw new MigrationException(handedOff
                    ? $"{_engine.Subject} was handed off in session {session}, which has not ended: postcopy migrate --resume {session}{InStateDirectory}"
                    : $"an earlier attempt (session {session}) is still being rolled back; if it does not end: postcopy abort {session}{InStateDirectory}");
            }

            MountedTree.Delete(directory);
        }
    }

    private async Task<MigrationReport> RecoverAsync(Func<Task<MigrationOutcome>> work)
    {
        MigrationOutcome outcome;
        try
        {
            _progress.Enter(MigrationPhase.Preparing);
            outcome = await work().ConfigureAwait(false);
        }
        catch (MemoryLostException e)
        {
            outcome = await LoseMemoryAsync(e.Message).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            _errors.Add(Explain(e));
            outcome = KeepUnsettled();
        }

        return Report(outcome);
    }

    private async Task RecoverStateAsync()
    {
        ProcessIdentity init = _record!.Init;
        _checkpointEnded = _record.Checkpoint.WaitForEndAsync();
        HandOff.Decision? decision = _criu!.Hook.Decision.Read() switch
        {
            null => null,
            HandOffWords.HandedOff => HandOff.Decision.HandedOff,
            HandOffWords.Cancelled => HandOff.Decision.Cancelled,
            var word => throw new MigrationException($"{_criu.Hook.Decision.Path} says '{word}', which is no decision"),
        };
        if (init.IsAlive)
        {
            // Before the hand-off a tree may still be where it was, which nobody can freeze.
            _freezer = _engine.FrozenByCriu() ?? (decision == HandOff.Decision.HandedOff ? FreezerCgroup.Of(init.Pid) : FreezerCgroup.TryOf(init.Pid));
            _networkLock = NetworkLock.Of(init.Pid);
        }
        else
        {
            // Children of a bare tree outlive their root, held where they were put: whoever kills the tree must find them.
            _freezer = _engine.Gathered(_criu);
        }

        bool returned = _criu.Hook.Returned.Read() is not null;
        bool drained = _criu.Hook.Drained.Read() is not null;
        if (decision == HandOff.Decision.HandedOff && !returned && !drained && !init.IsAlive)
        {
            throw new MemoryLostException($"the frozen process {init.Pid}, the first of {_engine.Subject}, has died, and its memory with it");
        }

        (_state, SourceActions actions) = SourceHandOff.Recover(decision, returned, drained, tasksExist: init.Exists);
        if (_state == SourceState.HandedOff)
        {
            // It was frozen before the record was written, and nothing but us thaws it: CRIU need not hold it any more.
            _freezer!.Freeze();
            actions &= ~SourceActions.FreezeAgain;
        }

        if (await PerformAsync(actions).ConfigureAwait(false) is { } follows)
        {
            await AdvanceAsync(follows).ConfigureAwait(false);
        }
    }

    /// <summary>The word of an operator is believed only if the destination does not contradict it.</summary>
    private async Task RefuseIfDestinationLivesAsync(CancellationToken cancellation)
    {
        try
        {
            using CancellationTokenSource limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            limit.CancelAfter(RollBackPatience);
            BeginEpoch();
            try
            {
                await ConnectAsync(limit.Token).ConfigureAwait(false);
            }
            catch (ProtocolException e) when (e is { SaidByPeer: true, Code: WireErrorCode.Session })
            {
                await RefuseUnlessStartedAnewAsync().ConfigureAwait(false);
                return;
            }
        }
        catch (Exception e) when (!cancellation.IsCancellationRequested && _control is not null && e is (IOException or SocketException or OperationCanceledException))
        {
            // Whatever broke then: its agent has taken the control lane, so it lives and has the session.
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException)
        {
            return;
        }
        catch (IOException e)
        {
            throw new MigrationException(
                $"whether the destination is dead cannot be said: {e.Message}. Nothing was changed: mend that, so that its agent at {_options.Destination} can be asked, or see that nothing answers there");
        }

        throw new MigrationException($"the destination is not dead: its agent at {_options.Destination} answers and has the session. Go on with: postcopy migrate --resume {_session.Name}{InStateDirectory}");
    }

    /// <summary>
    /// Its agent lives and knows nothing of the session. What ran there is gone if that host was started anew since; an agent that looks at other files, or whose
    /// files were removed, knows as little, and the container runs on.
    /// </summary>
    private async Task RefuseUnlessStartedAnewAsync()
    {
        string now = (await DestinationCheck.AskAsync(_options.Destination, _options.TokenFile, _options.Tls, _options.TlsName, CancellationToken.None).ConfigureAwait(false)).BootId;
        if (now.Length > 0 && _record!.DestinationBootId is { Length: > 0 } then && now != then)
        {
            return;
        }

        throw new MigrationException(
            $"its agent knows nothing of the session, but that host has not been started anew since it took {_engine.Subject}, which may be running there (was the agent started with another --state-dir?)");
    }
}
