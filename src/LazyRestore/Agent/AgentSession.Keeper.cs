using PostCopy.Faults;
using PostCopy.HandOff;
using PostCopy.Keeper;

namespace PostCopy.Agent;

/// <summary>The process that holds the userfaultfds beside this one, and its successor should it die.</summary>
internal sealed partial class AgentSession
{
    /// <summary>Between two attempts to give a dead keeper a successor.</summary>
    private static readonly TimeSpan KeeperPause = TimeSpan.FromSeconds(2);

    private long _keeperReplacedAt;

    private void UseKeeper(KeeperProcess keeper)
    {
        _keeper = keeper;
        Watch(TellEndAsync(keeper));
    }

    private async Task TellEndAsync(KeeperProcess keeper)
    {
        await keeper.EndedAsync().ConfigureAwait(false);
        Post(new SessionEvent.KeeperEnded(keeper));
    }

    /// <summary>Before the hand-off that ends the attempt; behind it tasks run whose memory only this process would hold, until another keeper does.</summary>
    private async Task HandleKeeperDeathAsync()
    {
        if (IsBeforeTheHandOff)
        {
            _errors.Add("the process that is to hold the userfaultfds (postcopy keeper) has died");
            await AdvanceAsync(DestinationInput.GiveUp).ConfigureAwait(false);
        }
        else if (_state is DestinationState.MayRun or DestinationState.Running && !_drained && !_containerDied && _memory is not null)
        {
            ReplaceKeeper(_memory);
        }
    }

    private void ReplaceKeeper(LazyMemory memory)
    {
        // One that cannot live must not be followed by another at once, again and again.
        if (Environment.TickCount64 - _keeperReplacedAt < KeeperPause.TotalMilliseconds)
        {
            LookAfterKeeperLater();
            return;
        }

        _keeperReplacedAt = Environment.TickCount64;
        try
        {
            KeeperProcess keeper = StartWatching();
            // Not before the other one has everything: a fork that is being dealt with may still speak to it.
            using KeeperProcess dead = _keeper!;
            UseKeeper(keeper);
            AgentLog.KeeperReplaced(_logger, Token.Name, memory.ReplaceKeeper(keeper));
        }
        catch (IOException e)
        {
            AgentLog.NoKeeper(_logger, Token.Name, e.Message);
            LookAfterKeeperLater();
        }
    }

    /// <summary>One that knows whose memory it is before it has any: should this process die in between, it must hold what it has.</summary>
    private KeeperProcess StartWatching()
    {
        KeeperProcess keeper = new(_options.KeeperProgram!, _criu!.Directory);
        try
        {
            if (_record!.Init.Exists)
            {
                keeper.Watch(_initPid);
            }
            else
            {
                keeper.WatchAddressSpaces();
            }

            return keeper;
        }
        catch
        {
            keeper.Dispose();
            throw;
        }
    }

    private void LookAfterKeeperLater() => Watch(TellLaterAsync(_keeper!));

    private async Task TellLaterAsync(KeeperProcess dead)
    {
        await Task.Delay(KeeperPause).ConfigureAwait(false);
        Post(new SessionEvent.KeeperEnded(dead));
    }
}
