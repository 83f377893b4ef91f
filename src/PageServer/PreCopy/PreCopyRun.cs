using System.Diagnostics;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Tracking;
using PostCopy.Transport;

namespace PostCopy.PreCopy;

/// <summary>
/// Copies the memory of a tree while it runs, in rounds, until a rule says freeze; behind the freeze, says what of the copy is still true.
/// </summary>
/// <remarks>One thread at a time. Until it is disposed the tree's memory is write-protected, which nobody but a clock can notice.</remarks>
internal sealed class PreCopyRun : IDisposable
{
    private readonly PreCopySettings _settings;
    private readonly SocketLane _lane;
    private readonly PageHistory _history = new();
    private readonly StopRule _rule;
    private readonly StagingSender _sender;
    private readonly DirtyTracker _tracker;
    private readonly Stopwatch _elapsed = new();
    private readonly List<RoundResult> _rounds = [];
    private int _round;

    internal PreCopyRun(int rootPid, PreCopySettings settings, SocketLane lane, bool checksums)
    {
        _settings = settings;
        _lane = lane;
        _rule = new StopRule(new StopLimits(settings.MaxRounds, settings.MaxTime, PreCopySettings.TargetTransfer));
        _sender = new StagingSender(lane, checksums, settings.MaxBytesPerSecond, _history.Staged, (pid, range) => _history.Forget(pid, range));
        _tracker = new DirtyTracker(rootPid, settings.InjectorProgram, settings.StateDirectory);
    }

    /// <summary>What was copied in each round.</summary>
    internal IReadOnlyList<RoundResult> Rounds => _rounds;

    /// <summary>Why the rounds ended; null when none was possible.</summary>
    internal StopReason? Ended { get; private set; }

    /// <summary>What is not watched, and why.</summary>
    internal IReadOnlyList<string> Notes => _tracker.Reasons;

    /// <summary>Pages that were copied before the freeze, and were written since: set by <see cref="Validate"/>.</summary>
    internal ulong StalePages { get; private set; }

    /// <summary>The rounds. False when nothing of the tree can be watched.</summary>
    internal bool Copy(IProgress<PreCopyProgress> progress, CancellationToken cancellation)
    {
        _elapsed.Start();
        while (Ended is null)
        {
            cancellation.ThrowIfCancellationRequested();
            _round++;
            long began = Stopwatch.GetTimestamp();
            _tracker.TakeWritten(_history.Forget, (pid, range) => _history.Written(pid, range, _round));
            if (_tracker.Processes.Count == 0)
            {
                return false;
            }

            List<KeyValuePair<ImagePid, PageRange>> runs = _history.ToCopy();
            ulong pages = (ulong)runs.Sum(static run => (long)run.Value.PageCount);
            double bytesPerSecond = BytesPerSecond();
            Ended = _rule.BeforeRound(_round, pages, _history.HotPages, bytesPerSecond, _elapsed.Elapsed);
            double dirtyRate = _rounds.Count == 0 ? 0 : PageSize.ToBytes(pages + _history.HotPages) / Math.Max(_rounds[^1].Time.TotalSeconds, 0.001);
            progress.Report(new PreCopyProgress(_round, pages, dirtyRate, bytesPerSecond, StopRule.Expected(pages, bytesPerSecond)));
            if (Ended is null)
            {
                ulong before = _sender.PagesSent;
                CopyRound(runs, cancellation);
                _rounds.Add(new RoundResult(_sender.PagesSent - before, _history.HotPages, Stopwatch.GetElapsedTime(began)));
            }
        }

        // CRIU would refuse a process with one of our userfaultfds in its table.
        _tracker.TryPutAwayLeftovers();
        return true;
    }

    /// <summary>
    /// With the tree frozen: tells the destination which of the pages that the images owe it has already, and returns them. What was written since its last
    /// copy, what is not watched, what a device may have written to: none of that is among them.
    /// </summary>
    /// <param name="owed">What the images owe.</param>
    /// <param name="tasks">The frozen processes.</param>
    internal List<KeyValuePair<ImagePid, List<PageRange>>> Validate(
        IReadOnlyList<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> owed, IReadOnlyDictionary<ImagePid, int> tasks)
    {
        List<KeyValuePair<ImagePid, List<PageRange>>> valid = [];
        ulong copied = 0;
        foreach ((ImagePid pid, IReadOnlyList<PageRange> ranges) in owed)
        {
            List<PageRange> still = [];
            if (ranges.Count > 0 && tasks.TryGetValue(pid, out int hostPid) && _tracker.Find(pid, hostPid) is { } process)
            {
                List<PageRange> clean = process.FindClean(PageRange.FromBounds(ranges[0].Start, ranges[^1].EndExclusive));
                Intersect(pid, ranges, clean, still);
            }

            copied += (ulong)ranges.Sum(range => (long)_history.EverStagedIn(pid, range));
            valid.Add(new(pid, still));
        }

        StalePages = copied - (ulong)valid.Sum(static process => process.Value.Sum(static range => (long)range.PageCount));
        StagingSender.Finish(_lane, valid);
        return valid;
    }

    /// <summary>How likely a page is to be needed soon, see <see cref="PageHistory.HeatOf"/>; asked for the pages that are still owed.</summary>
    internal int HeatOf(ImagePid pid, ulong address) => _history.HeatOf(pid, address);

    /// <summary>Without pre-copy: see <see cref="DirtyTracker.PutAwayWhatAnEarlierOneLeft"/>.</summary>
    internal static IReadOnlyList<string> PutAwayWhatAnEarlierOneLeft(int rootPid, string injectorProgram, string stateDirectory) =>
        DirtyTracker.PutAwayWhatAnEarlierOneLeft(rootPid, injectorProgram, stateDirectory);

    /// <summary>There was no pre-copy after all: the lane is the push's.</summary>
    internal static void Skip(SocketLane lane) => StagingSender.Finish(lane, []);

    /// <inheritdoc/>
    public void Dispose() => _tracker.Dispose();

    private void CopyRound(List<KeyValuePair<ImagePid, PageRange>> runs, CancellationToken cancellation)
    {
        Dictionary<ImagePid, int> hostPids = _tracker.Processes.ToDictionary(static process => process.ImagePid, static process => process.Identity.Pid);
        foreach ((ImagePid pid, PageRange run) in runs)
        {
            PageRange left = run;
            try
            {
                // A run may be as large as all memory: time is looked at a frame at a time.
                while (left.PageCount > 0 && MayGoOn(cancellation) && hostPids.TryGetValue(pid, out int hostPid))
                {
                    left = _sender.CopySome(pid, hostPid, left, cancellation);
                }
            }
            catch (LinuxException)
            {
                // The process has ended: the next look finds that out.
                hostPids.Remove(pid);
            }
        }

        _sender.Sync();
        if (_sender.IsFull)
        {
            Ended = StopReason.StagingFull;
        }
    }

    private bool MayGoOn(CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        return !_rule.IsTimeUp(_elapsed.Elapsed) && !_sender.IsFull;
    }

    /// <summary>Of memory, as what is left is measured: a page of zeroes counts as any other, though it hardly travels.</summary>
    private double BytesPerSecond()
    {
        double seconds = _rounds.Sum(static round => round.Time.TotalSeconds);
        return seconds > 0 ? PageSize.ToBytes(_sender.PagesSent) / seconds : 0;
    }

    /// <summary>Owed, clean and staged; all three in order of address.</summary>
    private void Intersect(ImagePid pid, IReadOnlyList<PageRange> owed, List<PageRange> clean, List<PageRange> found)
    {
        int at = 0;
        foreach (PageRange range in owed)
        {
            while (at < clean.Count && clean[at].EndExclusive <= range.Start)
            {
                at++;
            }

            for (int i = at; i < clean.Count && clean[i].Start < range.EndExclusive; i++)
            {
                _history.StagedIn(pid, range.Intersect(clean[i]), found);
            }
        }
    }
}

/// <summary>How to copy before the freeze.</summary>
/// <param name="InjectorProgram">The program that is started with the argument <c>tracker-inject</c>.</param>
/// <param name="StateDirectory">Where sessions keep their state.</param>
/// <param name="MaxRounds">Rounds that may be begun.</param>
/// <param name="MaxTime">How long it may take.</param>
/// <param name="MaxBytesPerSecond">The rate of copying; 0 for none.</param>
internal sealed record PreCopySettings(string InjectorProgram, string StateDirectory, int MaxRounds, TimeSpan MaxTime, double MaxBytesPerSecond)
{
    /// <summary>What travels in this time need not be copied before the freeze: a fault that meets it waits no longer for it than for any page.</summary>
    internal static readonly TimeSpan TargetTransfer = TimeSpan.FromMilliseconds(100);
}

/// <summary>One round of copying.</summary>
/// <param name="Pages">Pages it copied.</param>
/// <param name="HotPages">Pages it left out because they were written in round after round.</param>
/// <param name="Time">How long it took.</param>
internal sealed record RoundResult(ulong Pages, ulong HotPages, TimeSpan Time);
