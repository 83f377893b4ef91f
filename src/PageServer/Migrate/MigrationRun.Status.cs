using PostCopy.Memory;
using PostCopy.Sessions;

namespace PostCopy.Migrate;

/// <summary>What <c>postcopy status</c> shows of this session.</summary>
internal sealed partial class MigrationRun
{
    private readonly StatusWriter _status;

    /// <summary>Behind the commands that messages name.</summary>
    private string InStateDirectory => SuggestedCommand.In(_options.StateDirectory);

    /// <summary>A lane's thread has met it; whatever else is owed goes on.</summary>
    private void TellUnreadable(ImagePid pid, ulong address)
    {
        int here = _tasksByPid.GetValueOrDefault(pid);
        MigrateLog.Unreadable(_logger, _session.Name, address, pid, here);
        _errors.Add($"page {address:x} of process {pid} (pid {here} here) cannot be read although the process lives: it stays owed, and whoever touches it on {_options.Destination} waits");
    }

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
