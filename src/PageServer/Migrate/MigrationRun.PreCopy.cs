using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.PreCopy;

namespace PostCopy.Migrate;

/// <summary>Copies memory before the freeze, and behind it says what of that is still true.</summary>
internal sealed partial class MigrationRun
{
    private PreCopyRun? _preCopy;
    private Dictionary<ImagePid, int> _tasksByPid = [];
    private Task _validated = Task.CompletedTask;
    private ulong _stagedPages;
    private ulong _bytesBefore;

    /// <summary>Its writes were watched and its memory travelled: what fails from there on is no refusal.</summary>
    private bool _copiedBefore;

    /// <summary>The container runs meanwhile. Whatever fails here, nothing has happened to it.</summary>
    private async Task PreCopyAsync(int initPid, CancellationToken cancellation)
    {
        _progress.Enter(MigrationPhase.PreCopying);
        using CancellationTokenSource ending = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task copying = Task.Factory.StartNew(() => Copy(initPid, ending.Token), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        // A send to a peer that does not read any more ends with the lane.
        await using CancellationTokenRegistration abort = ending.Token.Register(() => _lanes!.Push.Abort());
        _nextMessage ??= _control!.ReceiveAsync(CancellationToken.None).AsTask();
        if (await Task.WhenAny(copying, _nextMessage).ConfigureAwait(false) == _nextMessage)
        {
            await ending.CancelAsync().ConfigureAwait(false);
            await Task.WhenAny(copying).ConfigureAwait(false);
            await ReceiveExpectedAsync(cancellation).ConfigureAwait(false);
        }

        try
        {
            await copying.ConfigureAwait(false);
        }
        catch (Exception) when (cancellation.IsCancellationRequested)
        {
            cancellation.ThrowIfCancellationRequested();
        }

        _bytesBefore = BytesOnWire;
    }

    private void Copy(int initPid, CancellationToken cancellation)
    {
        PreCopySettings settings = new(
            _options.InjectorProgram ?? throw new MigrationException("it is not known which program injects calls (InjectorProgram)"),
            _options.StateDirectory,
            _options.MaxRounds,
            _options.MaxPreCopy,
            _options.MaxPreCopyRate);
        PreCopyRun run = _preCopy = new(initPid, settings, _lanes!.Push, _options.Verify);
        _copiedBefore = true;
        if (!run.Copy(new Watcher(_progress), cancellation))
        {
            SayNoPreCopy(string.Join("; ", run.Notes));
            _preCopy = null;
            run.Dispose();
            PreCopyRun.Skip(_lanes.Push);
        }
    }

    /// <summary>A session before this one may have died while it watched the container's writes. Where that left something, CRIU would refuse the dump.</summary>
    private void PutAwayLeftovers(int initPid)
    {
        if (_options.InjectorProgram is { } injector)
        {
            _errors.AddRange(PreCopyRun.PutAwayWhatAnEarlierOneLeft(initPid, injector, _options.StateDirectory));
        }
    }

    private void SayNoPreCopy(string reason) => _errors.Add($"no memory could be copied before the freeze, all of it moved behind it: {reason}");

    /// <summary>Beside the sending of the images: it is done when the destination has rebuilt the container, or soon after.</summary>
    private void StartValidating()
    {
        if (_preCopy is { } run)
        {
            _validated = Task.Factory.StartNew(() => Validate(run), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        }
    }

    /// <summary>The question of who may run does not wait for it. Should it fail, the connection does: before the hand-off that rolls back, behind it all is owed.</summary>
    private void StartPushWhenValidated()
    {
        PageLanes lanes = _lanes!;
        if (_validated.IsCompletedSuccessfully)
        {
            lanes.StartPush(_server!);
            return;
        }

        _validated = _validated.ContinueWith(
            validated =>
            {
                if (validated.IsCompletedSuccessfully)
                {
                    lanes.StartPush(_server!);
                }
                else
                {
                    lanes.Fail($"it could not be said which pages are there already: {validated.Exception?.InnerException?.Message}");
                }
            },
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
    }

    /// <summary>Nothing else writes to the push lane any more, which is about to be disposed of.</summary>
    private void EndValidation()
    {
        if (!_validated.IsCompleted)
        {
            _lanes?.Push.Abort();
            Task.WaitAny(_validated);
        }
    }

    private void Validate(PreCopyRun run)
    {
        // CRIU's restore, which the container waits for, may be on the same CPUs; where it is not, this changes nothing.
        _ = FaultPriority.TryLower();
        List<KeyValuePair<ImagePid, List<PageRange>>> valid = run.Validate(_owed, _tasksByPid);
        foreach ((ImagePid pid, List<PageRange> ranges) in valid)
        {
            foreach (PageRange range in ranges)
            {
                _stagedPages += range.PageCount;
                _plan!.MarkStaged(pid, range);
            }
        }

        _plan!.PushFirst(HottestFirst(run, valid));
    }

    /// <summary>Of what is owed, the pages that were written while they were copied: late and often before early and seldom.</summary>
    private List<KeyValuePair<ImagePid, PageRange>> HottestFirst(PreCopyRun run, List<KeyValuePair<ImagePid, List<PageRange>>> valid)
    {
        List<(int Heat, ImagePid Pid, PageRange Range)> hot = [];
        foreach (((ImagePid pid, IReadOnlyList<PageRange> owed), (_, List<PageRange> staged)) in _owed.Zip(valid))
        {
            int next = 0;
            foreach (PageRange range in owed)
            {
                for (ulong address = range.Start; address < range.EndExclusive; address += (ulong)PageSize.Bytes)
                {
                    while (next < staged.Count && staged[next].EndExclusive <= address)
                    {
                        next++;
                    }

                    if (next < staged.Count && staged[next].Contains(address))
                    {
                        address = staged[next].EndExclusive - (ulong)PageSize.Bytes;
                    }
                    else if (run.HeatOf(pid, address) is var heat and > 0)
                    {
                        if (hot.Count > 0 && hot[^1] is var last && last.Heat == heat && last.Pid == pid && last.Range.EndExclusive == address)
                        {
                            hot[^1] = (heat, pid, last.Range with { PageCount = last.Range.PageCount + 1 });
                        }
                        else
                        {
                            hot.Add((heat, pid, new PageRange(address, 1)));
                        }
                    }
                }
            }
        }

        return [.. hot.OrderByDescending(static run => run.Heat).Select(static run => KeyValuePair.Create(run.Pid, run.Range))];
    }

    private PreCopyReport? PreCopyReport() => !_options.PreCopy ? null : new PreCopyReport
    {
        Rounds = [.. (_preCopy?.Rounds ?? []).Select(static round => new PreCopyRound { Pages = round.Pages, Hot = round.HotPages, Ms = Math.Round(round.Time.TotalMilliseconds, 1) })],
        Ended = _preCopy is null ? StopReason.NotPossible : _preCopy.Ended ?? StopReason.BrokenOff,
        LeftOut = _preCopy?.Notes ?? [],
        BytesBefore = _bytesBefore,
        BytesAfter = BytesOnWire - _bytesBefore,
        FaultsServedLocally = _drained.LocalFaults,
        FaultsServedRemotely = _drained.Faults,
    };

    private sealed class Watcher(ProgressReporter reporter) : IProgress<PreCopyProgress>
    {
        public void Report(PreCopyProgress value) => reporter.Tell(value);
    }
}
