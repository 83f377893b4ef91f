using System.Diagnostics;
using System.Globalization;
using PostCopy.Control.Messages;
using PostCopy.PreCopy;

namespace PostCopy.Migrate;

/// <summary>Turns what happens into <see cref="MigrationProgress"/> for whoever watches. A watcher that fails has no say in what happens: it is told nothing more.</summary>
internal sealed class ProgressReporter(IProgress<MigrationProgress>? watcher, Func<ulong> bytesOnWire, Action<Exception> watcherFailed)
{
    private IProgress<MigrationProgress>? _watcher = watcher;
    private readonly Stopwatch _elapsed = Stopwatch.StartNew();
    private MigrationPhase _phase;
    private string? _trouble;
    private PreCopyProgress? _round;
    private ulong _pagesTotal;
    private ulong _faults;
    private ulong _lastBytes;
    private TimeSpan _lastLook;

    internal ulong PagesTotal
    {
        get => _pagesTotal;
        set => _pagesTotal = PagesRemaining = value;
    }

    internal ulong PagesRemaining { get; set; }

    /// <summary>What is said while nothing else is the matter: pages that will not come; null when there are none.</summary>
    internal string? Unreadable { get; set; }

    /// <summary>Pages wait for a connection, since now.</summary>
    internal void Stall(string reason)
    {
        _trouble = string.Create(CultureInfo.InvariantCulture, $"since {DateTime.Now:HH:mm:ss}: {reason}");
        Enter(MigrationPhase.Stalled);
    }

    internal void Enter(MigrationPhase phase)
    {
        _phase = phase;
        if (phase != MigrationPhase.Stalled)
        {
            _trouble = null;
        }

        if (phase != MigrationPhase.PreCopying)
        {
            _round = null;
        }

        if (phase is MigrationPhase.Discarding or MigrationPhase.Done)
        {
            PagesRemaining = 0;
        }

        Look();
    }

    internal void Tell(PreCopyProgress round)
    {
        _round = round;
        Look();
    }

    internal void Tell(Progress progress)
    {
        if (_phase != MigrationPhase.Stalled)
        {
            _trouble = progress.ShortOfMemory ? "the destination has no memory for pages (is the container's memory cgroup full?): they wait there" : Unreadable;
        }

        PagesRemaining = progress.RemainingPages;
        _faults = progress.Faults;
        Look();
    }

    private void Look()
    {
        ulong bytes = bytesOnWire();
        TimeSpan now = _elapsed.Elapsed;
        double seconds = (now - _lastLook).TotalSeconds;
        double rate = seconds > 0 ? (bytes - _lastBytes) / seconds : 0;
        (_lastBytes, _lastLook) = (bytes, now);
        try
        {
            _watcher?.Report(new MigrationProgress(_phase, now, _pagesTotal, PagesRemaining, _faults, bytes, rate, _trouble, _round));
        }
        catch (Exception e)
        {
            _watcher = null;
            watcherFailed(e);
        }
    }
}
