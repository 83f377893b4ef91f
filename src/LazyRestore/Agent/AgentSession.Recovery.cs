using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using PostCopy.Control.Messages;
using PostCopy.Criu;
using PostCopy.Faults;
using PostCopy.HandOff;
using PostCopy.Keeper;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Sessions;
using PostCopy.Userfault;

namespace PostCopy.Agent;

/// <summary>Goes on where an agent that is dead now stood: by what was recorded, never by what was only remembered.</summary>
internal sealed partial class AgentSession
{
    internal const string DestinationSuffix = "-destination";
    private const string MayRunWord = KeeperProtocol.MayRunWord;
    private const string NeverRanWord = "never-ran";
    private const string CompleteWord = "complete";

    private static readonly TimeSpan AskAgainAfter = TimeSpan.FromSeconds(1);

    private DestinationRecord? _record;

    /// <summary>
    /// The session that a dead agent left in this directory; null when it had promised nothing yet, and nothing is left now. Throws <see cref="IOException"/> when
    /// another process works on it, or its files cannot be understood.
    /// </summary>
    internal static AgentSession? TakeOver(string directory, AgentOptions options, ILogger logger)
    {
        if (DestinationRecord.TryLoad(directory) is not { } record)
        {
            // Whoever begins a session there has the lock from the first moment on.
            using FileStream held = SessionLock.Take(directory) ?? throw new IOException("another process works on it");
            if (DestinationRecord.TryLoad(directory) is null)
            {
                MountedTree.Delete(directory);
            }

            return null;
        }

        Prepare container = Prepare.Parser.ParseFrom(record.Prepare);
        return new AgentSession(record.Session, options, logger)
        {
            _accepted = true,
            _record = record,
            _container = container,
            _peer = record.Peer,
            _criu = CriuSession.TakeOver(options.StateDirectory, Path.GetFileName(directory), container.TcpEstablished),
            _initPid = record.Init.Exists ? record.Init.Pid : 0,
            _linkLost = true,
            _linkLostAt = Environment.TickCount64,
            _epoch = 0,
        };
    }

    /// <summary>Serves on, or destroys what never ran: as the records say.</summary>
    internal async Task RunRecoveredAsync()
    {
        try
        {
            await RecoverAsync().ConfigureAwait(false);
            await HandleEventsAsync().ConfigureAwait(false);
        }
        finally
        {
            await EndAsync().ConfigureAwait(false);
        }
    }

    private async Task RecoverAsync()
    {
        CriuHook hook = _criu!.Hook;
        _asked = hook.Asked.Read() is not null;
        DestinationDecision? decision = hook.Decision.Read() switch
        {
            null => null,
            MayRunWord => DestinationDecision.MayRun,
            NeverRanWord => DestinationDecision.NeverRan,
            var word => throw new IOException($"{hook.Decision.Path} says '{word}', which is no decision"),
        };
        (_state, DestinationActions actions) = DestinationHandOff.Recover(decision, hook.Returned.Read() is not null, hook.MayHaveRun);
        AgentLog.TookOver(_logger, Token.Name, _container.ContainerId, _state);
        TellStatus();
        if (await PerformAsync(actions).ConfigureAwait(false) is { } follows)
        {
            await AdvanceAsync(follows).ConfigureAwait(false);
        }

        if (_state is DestinationState.MayRun or DestinationState.Running)
        {
            await RecoverCopyAsync().ConfigureAwait(false);
        }
    }

    /// <summary>The copy runs, or may. runc is not our child: that it has done its part shows in what it knows of the container.</summary>
    private async Task RecoverCopyAsync()
    {
        if (_criu!.Hook.Drained.Read() is not null)
        {
            // All of it is here, and only the source may not know.
            _state = DestinationState.Running;
            await AdvanceAsync(DestinationInput.AllPagesIn).ConfigureAwait(false);
            return;
        }

        // With its first process a container ends; of a bare tree the others live on.
        IRestoreEngine engine = RestoreEngine.For(_container, _options);
        if (_initPid != 0 || (_container.ProcessTree is not null && await engine.IsRunningAsync(_criu, CancellationToken.None).ConfigureAwait(false)))
        {
            TakeOverMemory(engine);
        }
        else
        {
            Post(new SessionEvent.ContainerDied());
        }

        Watch(TellEndOfRestoreAsync(engine));
    }

    private async Task TellEndOfRestoreAsync(IRestoreEngine engine)
    {
        await _record!.Restore.WaitForEndAsync().ConfigureAwait(false);
        bool succeeded = _criu!.Hook.MayHaveRun && await HasRestoredAsync(engine).ConfigureAwait(false);
        Post(new SessionEvent.RestoreEnded(new ExitStatus(succeeded ? 0 : 1, 0)));
    }

    /// <summary>A copy that was let go and has ended since was restored, too, and nothing is owed to it.</summary>
    private async Task<bool> HasRestoredAsync(IRestoreEngine engine)
    {
        while (true)
        {
            try
            {
                return await engine.IsRunningAsync(_criu!, CancellationToken.None).ConfigureAwait(false) || !_record!.Init.IsAlive;
            }
            catch (IOException e)
            {
                AgentLog.CannotAskRunc(_logger, Token.Name, _container.ContainerId, e.Message);
                await Task.Delay(AskAgainAfter).ConfigureAwait(false);
            }
        }
    }

    private void TakeOverMemory(IRestoreEngine engine)
    {
        try
        {
            (KeeperProcess keeper, Dictionary<int, Userfaultfd> held) = KeeperProcess.TakeOver(_criu!.Directory);
            UseKeeper(keeper);
            _journal = EventJournal.Open(Path.Combine(_criu.Directory, KeeperProtocol.JournalName));
            MakeMemory();
            IReadOnlyList<ImagePid> lost = _memory!.Recover(held);
            if (lost.Count > 0)
            {
                string whose = string.Join(", ", lost);
                AgentLog.LostChild(_logger, Token.Name, _container.ContainerId, whose);
                _errors.Add($"the agent died while it took over a child that process {whose} had just forked: that child's missing pages read as zeroes, so the container was frozen");
            }

            _lanes.TasksRun();
            _lanes.Start(_memory, _container.Checksums);
        }
        catch (Exception e) when (e is IOException or SocketException or InvalidDataException)
        {
            AgentLog.CannotTakeOver(_logger, _criu!.Directory, e.Message);
            _errors.Add(e.Message);
            engine.Freeze(_criu, _initPid);
        }
    }
}
