using System.Diagnostics;

namespace PostCopy.Faults;

/// <summary>
/// When each page now in flight was asked for, to measure faults. A table of fixed size: where it is crowded, a page in flight more costs a sample of
/// another. Written by the fault thread, taken by the threads that install.
/// </summary>
internal sealed class PendingFaults
{
    /// <summary>4096 slots: more than the faults a host's threads have in flight at a time.</summary>
    private const int SlotBits = 12;

    /// <summary>Slots that a page may be in, one behind the other.</summary>
    private const int Probes = 8;

    private readonly long[] _keys = new long[(1 << SlotBits) + Probes];
    private readonly long[] _timestamps = new long[(1 << SlotBits) + Probes];

    public LatencyHistogram Latency { get; } = new();

    /// <summary>To be called before any other thread can know that the page was asked for.</summary>
    public void Started(DumpedProcess process, long pageIndex, long timestamp)
    {
        long key = Key(process, pageIndex);
        int first = SlotOf(key);
        int slot = first;
        while (slot < first + Probes && Volatile.Read(ref _keys[slot]) != 0)
        {
            slot++;
        }

        slot = slot == first + Probes ? first : slot;
        Volatile.Write(ref _keys[slot], 0);
        Volatile.Write(ref _timestamps[slot], timestamp);
        Volatile.Write(ref _keys[slot], key);
    }

    public void Installed(DumpedProcess process, long pageIndex)
    {
        long key = Key(process, pageIndex);
        int first = SlotOf(key);
        for (int slot = first; slot < first + Probes; slot++)
        {
            if (Volatile.Read(ref _keys[slot]) == key)
            {
                long timestamp = Volatile.Read(ref _timestamps[slot]);
                if (Interlocked.CompareExchange(ref _keys[slot], 0, key) == key)
                {
                    Latency.Record(Stopwatch.GetElapsedTime(timestamp));
                }

                return;
            }
        }
    }

    /// <summary>Never zero, which marks a free slot. 2^40 pages are 4 PiB.</summary>
    private static long Key(DumpedProcess process, long pageIndex) => (((long)process.Number + 1) << 40) | pageIndex;

    /// <summary>Fibonacci hashing: the top bits of a product with 2^64 divided by the golden ratio.</summary>
    private static int SlotOf(long key) => (int)(unchecked((ulong)key * 0x9e3779b97f4a7c15) >> (64 - SlotBits));
}
