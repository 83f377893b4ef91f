namespace PostCopy.Control;

/// <summary>
/// How far the peer's clock is ahead of ours, from pings: the exchange with the smallest round trip bounds the offset best, and half of that
/// round trip is the error.
/// </summary>
internal sealed class ClockOffset
{
    private readonly Lock _lock = new();
    private long _bestRoundTripUs = long.MaxValue;
    private double _offsetUs;

    /// <summary>Takes one exchange: our clock when the ping left, the peer's when it answered, our clock when the answer came.</summary>
    internal void Observe(long sentUs, long peerUs, long receivedUs)
    {
        long roundTripUs = receivedUs - sentUs;
        lock (_lock)
        {
            if (roundTripUs >= 0 && roundTripUs < _bestRoundTripUs)
            {
                _bestRoundTripUs = roundTripUs;
                _offsetUs = peerUs - ((sentUs + receivedUs) / 2.0);
            }
        }
    }

    /// <summary>A time of the peer's clock on our clock.</summary>
    internal double ToOurUs(long peerUs)
    {
        lock (_lock)
        {
            return peerUs - _offsetUs;
        }
    }

    /// <summary>How far <see cref="ToOurUs"/> may be off.</summary>
    internal double ErrorUs
    {
        get
        {
            lock (_lock)
            {
                return _bestRoundTripUs == long.MaxValue ? double.PositiveInfinity : _bestRoundTripUs / 2.0;
            }
        }
    }
}
