using PostCopy.Sessions;

namespace PostCopy.Migrate;

/// <summary>What <c>postcopy status</c> shows of this session.</summary>
internal sealed partial class MigrationRun
{
    private readonly StatusWriter _status;

    /// <summary>Behind the commands that messages name.</summary>
    private string InStateDirectory => SuggestedCommand.In(_options.StateDirectory);

    private void TellStatus(string waitsFor = "")
    {
        if (_criu is null)
        {
            return;
        }

        _status.Tell(_criu.Directory, new SessionStatus
        {
            Session = _session.Name,
            Role = SessionRole.Source,
            Container = _options.ContainerId ?? _engine.Subject,
            Peer = _options.Destination.ToString(),
            State = SessionStatus.StateOf(_state),
            PagesTotal = _progress.PagesTotal,
            PagesOwed = _progress.PagesRemaining,
            WaitsFor = waitsFor,
        });
    }
}
