namespace PostCopy.Transport;

/// <summary>What options of either side must be, beyond their types.</summary>
internal static class OptionRange
{
    /// <summary>Timers take no more than some weeks, and whoever waits for a day has forgotten.</summary>
    internal static readonly TimeSpan LongestStep = TimeSpan.FromDays(1);

    /// <exception cref="ArgumentOutOfRangeException">It does not hold.</exception>
    internal static void Require<T>(bool holds, T value, string what, string property)
    {
        if (!holds)
        {
            throw new ArgumentOutOfRangeException(property, value, $"{property} must be {what}");
        }
    }

    /// <exception cref="ArgumentOutOfRangeException">It is beyond its range.</exception>
    internal static void RequireStepDeadline(TimeSpan value, string property) =>
        Require(value > TimeSpan.Zero && value <= LongestStep, value, "more than 0 and at most a day", property);
}
