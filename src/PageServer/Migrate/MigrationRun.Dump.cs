using PostCopy.Criu;
using PostCopy.Linux;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>CRIU stops the tasks and writes everything but their memory.</summary>
internal sealed partial class MigrationRun
{
    /// <summary>
    /// How long CRIU may try to stop all tasks before it lets them go, each time that it is tried. What CRIU cannot stop is a task that has called vfork(2), as
    /// posix_spawn(3) does: it waits in the kernel for its child to call exec, and CRIU has stopped the child. That is over in a millisecond for
    /// tasks that run, so another moment is better than a longer wait, during which everything stands still; the last is for a host under load.
    /// </summary>
    private static readonly TimeSpan[] TimesToStop = [TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(10)];

    /// <summary>Starts CRIU's dump until it holds all tasks. Returns with CRIU waiting in post-dump.</summary>
    private async Task<CriuStep> HoldTasksAsync(CancellationToken cancellation)
    {
        // A time limit of the user's is his to choose, and is tried once.
        TimeSpan?[] limits = _criu!.UserLimitsStopping ? [null] : [.. TimesToStop];
        for (int i = 0; ; i++)
        {
            if (await TryHoldTasksAsync(limits[i], cancellation).ConfigureAwait(false) is { } step)
            {
                return step;
            }

            string subject = _engine.Subject;
            if (i == limits.Length - 1)
            {
                throw new MigrationException($"CRIU could not stop every task of {subject}, {(i == 0 ? "in one try" : $"in {i + 1} tries")}: one that has called vfork(2) or posix_spawn(3) cannot be stopped until its " +
                    $"child has called exec or ended, and CRIU stops the child. {char.ToUpperInvariant(subject[0])}{subject[1..]} was let go each time; try again when it starts fewer programs (logs kept in {_criu.KeptLogs})");
            }

            MigrateLog.CannotStopTasks(_logger, _session.Name, subject, limits[i]!.Value.TotalSeconds);
            _criu.EmptyForAnotherDump();
        }
    }

    /// <summary>CRIU's post-dump; null when CRIU could not stop all tasks within the time limit, and let them go.</summary>
    private async Task<CriuStep?> TryHoldTasksAsync(TimeSpan? limit, CancellationToken cancellation)
    {
        cancellation.ThrowIfCancellationRequested();
        if (limit is { } time)
        {
            _criu!.LimitStopping(time);
        }

        if (_engine.FrozenByCriu() is { } freezer)
        {
            _criu!.Hook.FreezeBeforeDump(freezer);
        }

        SayFreezing();
        _checkpoint = _engine.Start(_criu!);
        _checkpointEnded = _checkpoint.WaitAsync(CancellationToken.None);
        Save(_record! with { Checkpoint = ProcessIdentity.Of(_checkpoint.Pid) });
        while (true)
        {
            if (await NextStepAsync(cancellation).ConfigureAwait(false) is not { } step)
            {
                _engine.FrozenByCriu()?.Thaw();
                return CriuLog.SaysTasksDidNotStop(_criu!.DumpLog)
                    ? null
                    : throw new MigrationException($"CRIU could not dump {_engine.Subject}: {CriuLog.FirstError(_criu.DumpLog) ?? _criu.RuncOutput.LastLine} (logs kept in {_criu.KeptLogs})");
            }

            switch (step.Action)
            {
                case CriuStep.PreDump:
                    _times.PreDumpUs = step.AtUs;
                    break;
                case CriuStep.NetworkLock:
                    _times.SeizedUs = step.AtUs;
                    break;
                case CriuStep.PostDump:
                    return step;
                default:
                    break;
            }
        }
    }

    /// <summary>The destination gets its restore ready while CRIU gets ready here. CRIU may have to dump again; what is ready there stays so.</summary>
    private void SayFreezing()
    {
        if (_restoresEarly && _engine.EarlyImages() is { } early)
        {
            _restoresEarly = false;
            _images!.SendEarly(early);
            _control!.Send(FrameKind.Freezing);
        }
    }

    /// <summary>CRIU's next step; null when CRIU has ended.</summary>
    private async Task<CriuStep?> NextStepAsync(CancellationToken cancellation)
    {
        using CancellationTokenSource reading = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        Task<CriuStep> step = _criu!.Hook.NextStepAsync(reading.Token).AsTask();
        await Task.WhenAny(step, _checkpointEnded!).WaitAsync(cancellation).ConfigureAwait(false);
        if (step.IsCompleted)
        {
            return await step.ConfigureAwait(false);
        }

        // What was not read is not to be missed by who reads next.
        await reading.CancelAsync().ConfigureAwait(false);
        return null;
    }
}
