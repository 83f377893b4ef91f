using PostCopy.Memory;
using PostCopy.Sessions;

namespace PostCopy.Migrate;

/// <summary>What <c>postcopy status</c> shows of this session.</summary>
internal sealed partial class MigrationRun
{
    private static readonly TimeSpan StatusEvery = TimeSpan.FromSeconds(1);

    private SessionStatus? _status;
    private long _statusAt;
    private bool _statusFailed;

    /// <summary>A lane's thread has met it; whatever else is owed goes on.</summary>
    private void TellUnreadable(ImagePid pid, ulong address)
    {
        int here = _tasksByPid.GetValueOrDefault(pid);
        Log.Unreadable(_logger, _session.Name, address, pid, here);
        _errors.Add($"page {address:x} of process {pid} (pid {here} here) cannot be read although the process lives: it stays owed, and whoever touches it on {_options.Destination} waits");
    }

    /// <summary>Writes it when something changed, and progress once a second.</summary>
    private void TellStatus(string waitsFor = "")
    {
        if (_criu is null)
        {
            return;
        }

        SessionStatus now = new()
        {
            Session = _session.Name,
            Role = SessionStatus.Source,
            Container = _options.ContainerId ?? _engine.Subject,
            Peer = _options.Destination.ToString(),
            State = SessionStatus.NameOf(_state),
            PagesTotal = _progress.PagesTotal,
            PagesOwed = _progress.PagesRemaining,
            WaitsFor = waitsFor,
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
                    Log.NoStatus(_logger, _session.Name, e.Message);
                }
            }
        }
    }
}
