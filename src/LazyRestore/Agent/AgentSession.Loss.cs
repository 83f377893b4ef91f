using PostCopy.HandOff;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Sessions;

namespace PostCopy.Agent;

/// <summary>The source is lost for good: by an operator's word, or because it stayed away for as long as the agent's options say.</summary>
internal sealed partial class AgentSession
{
    private long _linkLostAt;
    private bool _forget;
    private bool _gaveUpPages;
    private bool _cannotPoison;
    private bool _sourceIsLost;
    private bool _saidWhatIsMissing;

    private async Task LookForLossAsync()
    {
        // Whoever has nothing more to give does not come to hear how it ended.
        if (_state is DestinationState.Complete or DestinationState.NeverRan && (_sourceIsLost || SessionOrders.IsForgotten(_criu!.Directory)))
        {
            _forget = true;
        }

        if (_gaveUpPages || _state != DestinationState.Running || _memory is null || _drained)
        {
            return;
        }

        SessionOrder? order = FindOrder();
        if (_lanes.IsInstallingStaged && !_memory.IsShortOfMemory && order != SessionOrder.Kill)
        {
            // What is here already is not lost, unless there is no memory to put it in place.
            return;
        }

        bool stayedAway = _linkLost && Environment.TickCount64 - _linkLostAt > _options.LostAfter.TotalMilliseconds;
        LossPolicy policy = stayedAway || _sourceIsLost ? _options.OnLoss : LossPolicy.Stall;
        switch (order, _cannotPoison && policy == LossPolicy.Poison ? LossPolicy.Stall : policy)
        {
            case (SessionOrder.Poison, _) or (_, LossPolicy.Poison):
                _gaveUpPages = await Task.Factory.StartNew(Poison, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
                if (!_gaveUpPages)
                {
                    // Of two ways to lose pages the first that is taken holds; this one was not.
                    _cannotPoison = true;
                    SessionOrders.DropLoss(_criu!.Directory);
                }

                break;
            case (SessionOrder.Kill, _) or (_, LossPolicy.Kill):
                _gaveUpPages = true;
                SayLost("it is killed", Missing());
                await KillCopyAsync().ConfigureAwait(false);
                break;
            default:
                if (_sourceIsLost && !_saidWhatIsMissing)
                {
                    _saidWhatIsMissing = true;
                    SayLost($"whoever touches one of them waits, until an operator says: {OrderTo(_cannotPoison ? "kill" : "poison|kill")}", Missing());
                }

                break;
        }
    }

    /// <summary>
    /// What an operator said of missing pages. While the source is connected it is not true that it is lost: what is found then, because the source came back just before
    /// it was written, is dropped, lest it apply to a connection that breaks for a moment later.
    /// </summary>
    private SessionOrder? FindOrder()
    {
        SessionOrder? order = SessionOrders.FindLoss(_criu!.Directory);
        if (order is null || _linkLost || _sourceIsLost)
        {
            return order;
        }

        SessionOrders.DropLoss(_criu.Directory);
        AgentLog.OrderDropped(_logger, Token.Name, order.Value);
        return null;
    }

    private string OrderTo(string order) => $"postcopy abort {Token.Name} --source-is-dead {order}{SuggestedCommand.In(_options.StateDirectory)}";

    /// <summary>With its first process a container dies; of a bare tree each one has to be killed.</summary>
    private Task KillCopyAsync()
    {
        if (_container.ProcessTree is not null)
        {
            return RestoreEngine.For(_container, _options).RemoveAsync(_criu!, CancellationToken.None);
        }

        ProcessSignal.Kill(_initPid);
        return Task.CompletedTask;
    }

    /// <summary>The source says itself that it has nothing more to give.</summary>
    private async Task LoseSourceAsync(string reason)
    {
        if (_state is not (DestinationState.MayRun or DestinationState.Running) || _drained)
        {
            return;
        }

        _sourceIsLost = true;
        _control!.Close();
        await LoseLinkAsync($"the source has lost memory: {reason}").ConfigureAwait(false);
    }

    private IReadOnlyList<(ImagePid Pid, long Pages)> Missing() =>
        [.. _memory!.Processes.Select(pid => (pid, (long)_memory.StillOwed(pid).Sum(static range => (decimal)range.PageCount))).Where(static lost => lost.Item2 > 0)];

    /// <summary>False when pages are still owed after it, and whoever touches one of those waits as before.</summary>
    private bool Poison()
    {
        IReadOnlyList<(ImagePid Pid, long Pages)> lost = _memory!.Poison();
        bool isAll = _memory.Counters.Remaining == 0;
        if (isAll || lost.Count > 0)
        {
            SayLost("whoever touches one of them gets SIGBUS", lost);
        }

        if (isAll)
        {
            return true;
        }

        string kill = OrderTo("kill");
        string missing = string.Join(", ", Missing().Select(static process => $"{process.Pages} of process {process.Pid}"));
        _errors.Add($"pages could not be poisoned: {missing}; whoever touches one of them waits. {(PoisonSupport.IsHere ? "" : PoisonSupport.Needs + " ")}To end the wait: {kill}");
        AgentLog.NotPoisoned(_logger, Token.Name, _container.ContainerId, missing, kill);
        return false;
    }

    private void SayLost(string consequence, IReadOnlyList<(ImagePid Pid, long Pages)> lost)
    {
        string whose = string.Join(", ", lost.Select(static process => $"{process.Pages} of process {process.Pid}"));
        _errors.Add($"the source is lost, and with it pages: {whose}; {consequence}");
        AgentLog.PagesLost(_logger, Token.Name, _container.ContainerId, whose, consequence);
    }
}
