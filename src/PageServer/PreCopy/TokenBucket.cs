namespace PostCopy.PreCopy;

/// <summary>Bounds a rate: says how long to wait before so many bytes may go. Pure: the caller has the clock.</summary>
internal sealed class TokenBucket
{
    private readonly double _bytesPerSecond;
    private readonly double _burstBytes;
    private double _tokens;
    private TimeSpan _last;

    /// <param name="bytesPerSecond">The rate; 0 for none.</param>
    /// <param name="burstBytes">What may go at once after a pause.</param>
    internal TokenBucket(double bytesPerSecond, double burstBytes)
    {
        _bytesPerSecond = bytesPerSecond;
        _burstBytes = burstBytes;
        _tokens = burstBytes;
    }

    /// <summary>Takes the bytes, and returns how long to wait before they are sent.</summary>
    internal TimeSpan Take(long bytes, TimeSpan now)
    {
        if (_bytesPerSecond <= 0)
        {
            return TimeSpan.Zero;
        }

        _tokens = Math.Min(_burstBytes, _tokens + ((now - _last).TotalSeconds * _bytesPerSecond)) - bytes;
        _last = now;
        return _tokens >= 0 ? TimeSpan.Zero : TimeSpan.FromSeconds(-_tokens / _bytesPerSecond);
    }
}
