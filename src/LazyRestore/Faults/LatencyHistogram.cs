using System.Numerics;

namespace PostCopy.Faults;

/// <summary>
/// Durations in buckets that grow with the value: 16 to each power of two, so a percentile is at most 1/16 too high. Fixed size, no allocation,
/// any number of threads.
/// </summary>
internal sealed class LatencyHistogram
{
    private const int SubBucketBits = 4;
    private const int SubBuckets = 1 << SubBucketBits;

    private readonly long[] _counts = new long[(64 - SubBucketBits + 1) * SubBuckets];
    private long _maxNanoseconds;

    /// <summary>Durations recorded.</summary>
    public long Count
    {
        get
        {
            long total = 0;
            for (int bucket = 0; bucket < _counts.Length; bucket++)
            {
                total += Volatile.Read(ref _counts[bucket]);
            }

            return total;
        }
    }

    public double MaxMicroseconds => Interlocked.Read(ref _maxNanoseconds) / 1000.0;

    public void Record(TimeSpan duration)
    {
        long nanoseconds = Math.Max(0, duration.Ticks) * TimeSpan.NanosecondsPerTick;
        Interlocked.Increment(ref _counts[BucketOf(nanoseconds)]);
        long max = Interlocked.Read(ref _maxNanoseconds);
        while (nanoseconds > max)
        {
            long seen = Interlocked.CompareExchange(ref _maxNanoseconds, nanoseconds, max);
            if (seen == max)
            {
                break;
            }

            max = seen;
        }
    }

    /// <summary>The duration that <paramref name="fraction"/> of all recorded ones do not exceed; zero when there are none.</summary>
    public double PercentileMicroseconds(double fraction)
    {
        long rank = (long)Math.Ceiling(Count * fraction);
        for (int bucket = 0; bucket < _counts.Length && rank > 0; bucket++)
        {
            rank -= Volatile.Read(ref _counts[bucket]);
            if (rank <= 0)
            {
                return Math.Min(UpperBound(bucket) / 1000.0, MaxMicroseconds);
            }
        }

        return 0;
    }

    /// <summary>Values below 16 have a bucket each; above, the four bits behind the leading one choose it.</summary>
    private static int BucketOf(long value)
    {
        int exponent = 63 - BitOperations.LeadingZeroCount((ulong)value | 1);
        int shift = Math.Max(exponent - SubBucketBits, 0);
        int octave = exponent < SubBucketBits ? 0 : shift + 1;
        return (octave << SubBucketBits) + (int)((value >> shift) & (SubBuckets - 1));
    }

    private static double UpperBound(int bucket)
    {
        int octave = bucket >> SubBucketBits;
        int within = bucket & (SubBuckets - 1);
        return octave == 0 ? within : Math.ScaleB(SubBuckets + within + 1, octave - 1) - 1;
    }
}
