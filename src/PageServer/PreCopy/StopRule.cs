using PostCopy.Memory;

namespace PostCopy.PreCopy;

/// <summary>What bounds the rounds.</summary>
/// <param name="MaxRounds">Rounds that may be begun.</param>
/// <param name="MaxTime">How long copying may take.</param>
/// <param name="TargetTransfer">What is left when the rest would travel in this time is left to the faults and the push behind the freeze.</param>
internal sealed record StopLimits(int MaxRounds, TimeSpan MaxTime, TimeSpan TargetTransfer);

/// <summary>When to stop copying and freeze. A pure class: it is told what was found and how fast copying was.</summary>
internal sealed class StopRule(StopLimits limits)
{
    /// <summary>A round that leaves more than this part of what the best one before it left is no progress.</summary>
    private const double ProgressFactor = 0.9;

    /// <summary>Rounds without progress after which more of them promise none: a program may be busy for a moment.</summary>
    private const int PatienceRounds = 2;

    private ulong _least = ulong.MaxValue;
    private int _withoutProgress;

    /// <summary>
    /// Asked when it is known how much a round would copy. Returns why it should not; null to copy it.
    /// </summary>
    /// <param name="round">The round that would begin, from 1.</param>
    /// <param name="pages">Pages it would copy.</param>
    /// <param name="hotPages">Pages that were written in round after round and are left for after the freeze.</param>
    /// <param name="bytesPerSecond">How fast copying was; 0 before the first round.</param>
    /// <param name="elapsed">Since the first round began.</param>
    internal StopReason? BeforeRound(int round, ulong pages, ulong hotPages, double bytesPerSecond, TimeSpan elapsed)
    {
        if (round > limits.MaxRounds)
        {
            return StopReason.MaxRounds;
        }

        if (IsTimeUp(elapsed))
        {
            return StopReason.MaxTime;
        }

        if (round == 1)
        {
            return null;
        }

        if (Expected(pages, bytesPerSecond) <= limits.TargetTransfer)
        {
            return Expected(hotPages, bytesPerSecond) <= limits.TargetTransfer ? StopReason.LittleLeft : StopReason.OnlyHotLeft;
        }

        if (pages < _least * ProgressFactor)
        {
            _withoutProgress = 0;
        }
        else if (++_withoutProgress >= PatienceRounds)
        {
            return StopReason.NoProgress;
        }

        _least = Math.Min(_least, pages);
        return null;
    }

    /// <summary>Asked while a round is under way.</summary>
    internal bool IsTimeUp(TimeSpan elapsed) => elapsed >= limits.MaxTime;

    /// <summary>How long these pages would travel.</summary>
    internal static TimeSpan Expected(ulong pages, double bytesPerSecond)
    {
        double seconds = pages == 0 ? 0 : bytesPerSecond > 0 ? PageSize.ToBytes(pages) / bytesPerSecond : double.PositiveInfinity;
        return seconds < TimeSpan.MaxValue.TotalSeconds ? TimeSpan.FromSeconds(seconds) : TimeSpan.MaxValue;
    }
}
