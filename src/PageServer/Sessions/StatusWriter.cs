namespace PostCopy.Sessions;

/// <summary>Keeps what <c>postcopy status</c> shows of a session: written when something changed, and progress once a second.</summary>
/// <param name="failed">Hears, once, why it cannot be written: a full state directory, for example, which is no reason to leave the container's pages.</param>
internal sealed class StatusWriter(Action<string> failed)
{
    private static readonly TimeSpan Every = TimeSpan.FromSeconds(1);

    private SessionStatus? _last;
    private long _lastAt;
    private bool _failed;

    /// <summary>Writes it into the session's directory, if that is due. <see cref="SessionStatus.Since"/> and <see cref="SessionStatus.Pid"/> are filled in here.</summary>
    internal void Tell(string directory, SessionStatus now)
    {
        bool changed = _last is null || _last.State != now.State || _last.WaitsFor != now.WaitsFor;
        if (!changed && Environment.TickCount64 - _lastAt <= Every.TotalMilliseconds)
        {
            return;
        }

        _last = now with { Since = changed ? DateTimeOffset.UtcNow : _last!.Since, Pid = Environment.ProcessId };
        _lastAt = Environment.TickCount64;
        try
        {
            SessionList.Write(directory, _last);
        }
        catch (IOException e)
        {
            if (!_failed)
            {
                _failed = true;
                failed(e.Message);
            }
        }
    }
}
