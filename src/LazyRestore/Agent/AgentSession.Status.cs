using PostCopy.HandOff;
using PostCopy.Sessions;

namespace PostCopy.Agent;

/// <summary>What <c>postcopy status</c> shows of this session.</summary>
internal sealed partial class AgentSession
{
    private readonly StatusWriter _status;

    private void TellStatus()
    {
        if (_criu is null)
        {
            return;
        }

        _status.Tell(_criu.Directory, new SessionStatus
        {
            Session = Token.Name,
            Role = SessionRole.Destination,
            Container = _container.ContainerId,
            Peer = _peer,
            State = SessionStatus.StateOf(_state),
            PagesTotal = _pagesTotal,
            PagesOwed = (ulong)(_memory?.Counters.Remaining ?? 0),
            WaitsFor = WaitsFor(),
        });
    }

    private string WaitsFor() => (_linkLost, _state) switch
    {
        (true, DestinationState.MayRun or DestinationState.Running) when _sourceIsLost => $"an operator's word, for its source has lost pages: {OrderTo(_cannotPoison ? "kill" : "poison|kill")}",
        (true, DestinationState.MayRun or DestinationState.Running) => "its source to connect anew: the tasks wait for pages that are there",
        (true, DestinationState.Asking) => "its source's answer; without one the copy is given up, unrun",
        (true, DestinationState.Complete) => "its source to hear that nothing is owed any more",
        (true, DestinationState.NeverRan) => "its source to hear that there is no copy here",
        (false, DestinationState.MayRun or DestinationState.Running) when _memory is { IsShortOfMemory: true } => SessionStatus.Memory,
        _ => "",
    };
}
