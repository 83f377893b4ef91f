using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.HandOff;
using PostCopy.Memory;
using PostCopy.Wire;

namespace PostCopy.Agent;

/// <summary>
/// What becomes of a session whose connection breaks: before the hand-off it ends; after it, tasks wait for their pages until the source has
/// connected anew, which is the source's to do.
/// </summary>
internal sealed partial class AgentSession
{
    /// <summary>How long a complete copy waits for a source that went away before it answered: it may have said yes. Then the copy is given up, unrun.</summary>
    private static readonly TimeSpan PatienceAtTheFence = TimeSpan.FromSeconds(60);

    /// <summary>All three lanes live and die together.</summary>
    private async Task LoseLinkAsync(string reason)
    {
        _linkLost = true;
        _linkLostAt = Environment.TickCount64;
        _sourceSaidGoodbye = _control!.PeerSaidGoodbye;
        _lanes.BeginEpoch(_epoch);
        _control.Dispose();
        TellStatus();
        switch (_state)
        {
            case DestinationState.Receiving or DestinationState.Building:
                _errors.Add(reason);
                await AdvanceAsync(DestinationInput.GiveUp).ConfigureAwait(false);
                break;
            case DestinationState.Asking:
                AgentLog.LostAtTheFence(_logger, Token.Name, _container.ContainerId, PatienceAtTheFence.TotalSeconds, reason);
                Watch(GiveUpUnlessReconnectedAsync(_epoch, reason));
                break;
            case DestinationState.MayRun or DestinationState.Running:
                AgentLog.Stalled(_logger, Token.Name, _container.ContainerId, _memory?.Counters.Remaining ?? 0, reason);
                break;
            case DestinationState.Complete:
                AgentLog.Unconfirmed(_logger, Token.Name, _container.ContainerId, reason);
                break;
            default:
                break;
        }
    }

    private async Task GiveUpUnlessReconnectedAsync(uint epoch, string reason)
    {
        await Task.Delay(PatienceAtTheFence).ConfigureAwait(false);
        if (epoch == Volatile.Read(ref _epoch))
        {
            Post(new SessionEvent.GiveUp(reason));
        }
    }

    /// <summary>The source is back: it hears what is still owed, and again what it may not have heard.</summary>
    private async Task ReconnectAsync(ControlChannel control)
    {
        ControlChannel? old = _control;
        _control = control;
        _linkLost = false;
        _peer = control.Lane.Peer;
        TellStatus();
        old?.Dispose();
        Watch(PumpMessagesAsync(control));
        AgentLog.Reconnected(_logger, Token.Name, _container.ContainerId, _memory?.Counters.Remaining ?? 0, control.Lane.Peer);
        SayOwed();
        if (_failedBecause is not null)
        {
            // It was said into a broken connection, or by an agent that had none.
            TrySend(FrameKind.Failed, new Failed { Error = _failedBecause });
        }

        await PerformAsync(DestinationHandOff.Repeat(_state)).ConfigureAwait(false);
    }

    private void SayOwed()
    {
        if (_memory is { } memory && !_drained)
        {
            foreach (ImagePid pid in memory.Processes)
            {
                foreach (PageRange[] some in memory.StillOwed(pid).Chunk(ProtocolLimits.MaxOwedRanges))
                {
                    Owed message = new() { Pid = pid.Value };
                    message.Starts.AddRange(some.Select(static range => range.Start));
                    message.Pages.AddRange(some.Select(static range => range.PageCount));
                    TrySend(FrameKind.Owed, message);
                }
            }
        }

        TrySend(FrameKind.Owed, new Owed { Last = true });
    }

    /// <summary>A page cannot be put in place. Before the hand-off that ends the attempt; after it, tasks that need the page wait.</summary>
    private async Task LoseMemoryAsync(string reason)
    {
        _errors.Add(reason);
        if (IsBeforeTheHandOff)
        {
            await AdvanceAsync(DestinationInput.GiveUp).ConfigureAwait(false);
        }
        else if (_state is DestinationState.MayRun or DestinationState.Running && !_drained)
        {
            AgentLog.Stalled(_logger, Token.Name, _container.ContainerId, _memory?.Counters.Remaining ?? 0, reason);
            TrySend(FrameKind.Failed, new Failed { Error = reason });
        }
    }
}
