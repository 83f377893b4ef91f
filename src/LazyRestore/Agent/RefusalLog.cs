using Microsoft.Extensions.Logging;

namespace PostCopy.Agent;

/// <summary>Logs who was refused and why, but only so often: strangers decide how many there are, and must not fill a disk with it.</summary>
internal sealed class RefusalLog(ILogger logger)
{
    /// <summary>Lines that may come at once; one more for every second without.</summary>
    private const int Burst = 20;

    private readonly Lock _lock = new();
    private long _lastMs = Environment.TickCount64;
    private double _credit = Burst;
    private int _unlogged;

    internal void Write(string peer, string reason)
    {
        int unlogged;
        lock (_lock)
        {
            long now = Environment.TickCount64;
            _credit = Math.Min(Burst, _credit + ((now - _lastMs) / 1000.0));
            _lastMs = now;
            if (_credit < 1)
            {
                _unlogged++;
                return;
            }

            _credit--;
            (unlogged, _unlogged) = (_unlogged, 0);
        }

        if (unlogged > 0)
        {
            AgentLog.RefusedMore(logger, unlogged);
        }

        AgentLog.Refused(logger, peer, reason);
    }
}
