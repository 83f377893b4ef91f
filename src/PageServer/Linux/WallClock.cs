namespace PostCopy.Linux;

/// <summary>The unit of every time that is recorded or sent.</summary>
internal static class WallClock
{
    /// <summary>Microseconds since the epoch.</summary>
    internal static long NowUs => (DateTime.UtcNow - DateTime.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;
}
