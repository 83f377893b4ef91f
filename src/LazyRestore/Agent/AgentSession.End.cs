using PostCopy.Faults;
using PostCopy.HandOff;
using PostCopy.Keeper;
using PostCopy.Linux;
using PostCopy.Pages;
using PostCopy.Restore;

namespace PostCopy.Agent;

/// <summary>What a session leaves when it ends: nothing, unless somebody else has to go on with it.</summary>
internal sealed partial class AgentSession
{
    private async Task EndAsync()
    {
        try
        {
            await CleanUpAsync().ConfigureAwait(false);
        }
        finally
        {
            // Whatever is left of it, somebody else may go on with it.
            _criu?.Dispose();
            _ended.SetResult();
        }
    }

    private async Task CleanUpAsync()
    {
        lock (_reattaching)
        {
            _isOver = true;
        }

        while (_events.Reader.TryRead(out SessionEvent? unheard))
        {
            (unheard as SessionEvent.Reconnected)?.Control.Dispose();
        }

        _awake?.Dispose();
        EndDeadline();
        if (_ticks is { } ticks)
        {
            await ticks.DisposeAsync().ConfigureAwait(false);
        }

        if (_state is not (DestinationState.NeverRan or DestinationState.Complete or DestinationState.Done) && _restore is not null && !_containerDied)
        {
            _errors.Add("the session ended unexpectedly");
            await AdvanceAsync(DestinationInput.GiveUp).ConfigureAwait(false);
        }

        bool owed = _state is DestinationState.MayRun or DestinationState.Running && !_drained && !_containerDied;
        _lanes.Dispose();
        if (_state != DestinationState.MayRun)
        {
            _socket?.Dispose();
        }

        _joiner?.Dispose();
        await LetMemoryGoAsync(owed).ConfigureAwait(false);
        _inbox?.Dispose();
        _control?.Close();
        _control?.Dispose();
        // What nobody knows the end of stays: only by its files can another agent go on with it, or say how it ended.
        if (_criu is not null && (IsSettled || (IsBeforeTheHandOff && _record is not { Restore.Pid: > 0 })))
        {
            if (_state is DestinationState.Complete or DestinationState.Done)
            {
                Settle();
                if (_container.Collapse)
                {
                    await Task.Factory.StartNew(Collapse, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
                }
            }

            _criu.Delete(keepLogs: _errors.Count > 0);
        }
    }

    private void Collapse()
    {
        if (_record is { Init: { Exists: true } init })
        {
            (ulong joined, ulong possible) = HugePages.Collapse(TaskTree.Map(init.Pid).Values);
            AgentLog.Collapsed(_logger, Token.Name, joined >> 20, possible >> 20, _container.ContainerId);
        }
    }

    private void Settle()
    {
        try
        {
            RestoreEngine.For(_container, _options).Settle(_criu!);
        }
        catch (IOException e)
        {
            AgentLog.LeftBehind(_logger, Token.Name, e.Message);
        }
    }

    /// <summary>
    /// Ends the keeper, unless pages are owed that this session cannot fetch any more: then it goes on holding the userfaultfds, so that tasks wait
    /// for them instead of reading zeroes, until the container is dead.
    /// </summary>
    private async Task LetMemoryGoAsync(bool owed)
    {
        _memory?.Dispose();
        _lanes.ReleaseStaging();
        using EventJournal? journal = Interlocked.Exchange(ref _journal, null);
        using KeeperProcess? keeper = Interlocked.Exchange(ref _keeper, null);
        if (keeper is null)
        {
            return;
        }

        try
        {
            if (owed)
            {
                AgentLog.Stalled(_logger, Token.Name, _container.ContainerId, _memory?.Counters.Remaining ?? 0, "the session ended unexpectedly");
            }
            else
            {
                await keeper.ReleaseAsync().ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is LinuxException or System.Net.Sockets.SocketException)
        {
            AgentLog.KeeperDied(_logger, Token.Name, e.Message);
            KeeperCgroup.RemoveIfEmpty();
        }
    }
}
