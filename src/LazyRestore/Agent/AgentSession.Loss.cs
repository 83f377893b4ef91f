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

    private async Task LookForLossAsync()
    {
        if (_state is DestinationState.Complete or DestinationState.NeverRan && SessionOrders.IsForgotten(_criu!.Directory))
        {
            _forget = true;
        }

        if (_gaveUpPages || _state != DestinationState.Running || _memory is null || _drained)
        {
            return;
        }

        SessionOrder? order = SessionOrders.FindLoss(_criu!.Directory);
        bool stayedAway = _linkLost && Environment.TickCount64 - _linkLostAt > _options.LostAfter.TotalMilliseconds;
        switch (order, stayedAway ? _options.OnLoss : LossPolicy.Stall)
        {
            case (SessionOrder.Poison, _) or (_, LossPolicy.Poison):
                _gaveUpPages = true;
                await Task.Factory.StartNew(Poison, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
                break;
            case (SessionOrder.Kill, _) or (_, LossPolicy.Kill):
                _gaveUpPages = true;
                SayLost("it is killed", [.. _memory.Processes.Select(pid => (pid, (long)_memory.StillOwed(pid).Sum(static range => (decimal)range.PageCount))).Where(static lost => lost.Item2 > 0)]);
                ProcessSignal.Kill(_initPid);
                break;
            default:
                break;
        }
    }

    private void Poison() => SayLost("whoever touches one of them gets SIGBUS", _memory!.Poison());

    private void SayLost(string consequence, IReadOnlyList<(ImagePid Pid, long Pages)> lost)
    {
        string whose = string.Join(", ", lost.Select(static process => $"{process.Pages} of process {process.Pid}"));
        _errors.Add($"the source is lost, and with it pages: {whose}; {consequence}");
        AgentLog.PagesLost(_logger, Token.Name, _container.ContainerId, whose, consequence);
    }
}
