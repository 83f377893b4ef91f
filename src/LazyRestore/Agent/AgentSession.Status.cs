using PostCopy.HandOff;
using PostCopy.Sessions;

namespace PostCopy.Agent;

/// <summary>What <c>postcopy status</c> shows of this session.</summary>
internal sealed partial class AgentSession
{
    private static readonly TimeSpan StatusEvery = TimeSpan.FromSeconds(1);

    private SessionStatus? _status;
    private long _statusAt;
    private bool _statusFailed;

    /// <summary>Writes it when something changed, and progress once a second.</summary>
    private void TellStatus()
    {
        if (_criu is null)
        {
            return;
        }

        SessionStatus now = new()
        {
            Session = Token.Name,
            Role = SessionStatus.Destination,
            Container = _container.ContainerId,
            Peer = _peer,
            State = SessionStatus.NameOf(_state),
            PagesTotal = _pagesTotal,
            PagesOwed = (ulong)(_memory?.Counters.Remaining ?? 0),
            WaitsFor = WaitsFor(),
            Pid = Environment.ProcessId,
        };
        bool changed = _status is null || _status.State != now.State || _status.WaitsFor != now.WaitsFor;
        if (changed || Environment.TickCount64 - _statusAt > StatusEvery.TotalMilliseconds)
        {
            _status = now with { Since = changed ? DateTimeOffset.UtcNow : _status!.Since };
            _statusAt = Environment.TickCount64;
            try
            {
                SessionList.Write(_criu.Directory, _status);
            }
            catch (IOException e)
            {
                // A full state directory, for example: no reason to leave the container's pages.
                if (!_statusFailed)
                {
                    _statusFailed = true;
                    AgentLog.NoStatus(_logger, Token.Name, e.Message);
                }
            }
        }
    }

    private string WaitsFor() => (_linkLost, _state) switch
    {
        (true, DestinationState.MayRun or DestinationState.Running) when _sourceIsLost => $"an operator's word, for its source has lost pages: postcopy abort {Token.Name} --source-is-dead {(_cannotPoison ? "kill" : "poison|kill")}",
        (true, DestinationState.MayRun or DestinationState.Running) => "its source to connect anew: the tasks wait for pages that are there",
        (true, DestinationState.Asking) => "its source's answer; without one the copy is given up, unrun",
        (true, DestinationState.Complete) => "its source to hear that nothing is owed any more",
        (true, DestinationState.NeverRan) => "its source to hear that there is no copy here",
        (false, DestinationState.MayRun or DestinationState.Running) when _memory is { IsShortOfMemory: true } =>
            "memory: the container's memory cgroup is full, or this host; the push is paused and tasks wait for their pages",
        _ => "",
    };
}
