namespace PostCopy.Tests.Perf;

/// <summary>Counts what the calling thread allocates on the managed heap.</summary>
internal static class Allocations
{
    private const int Rounds = 200;

    /// <summary>
    /// Bytes that one more round of <paramref name="operation"/> allocates in the steady state: once pools are filled, code is compiled and what is made
    /// once for each thread is made.
    /// </summary>
    public static double PerRound(Action operation)
    {
        for (int i = 0; i < Rounds; i++)
        {
            operation();
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < Rounds; i++)
        {
            operation();
        }

        return (GC.GetAllocatedBytesForCurrentThread() - before) / (double)Rounds;
    }
}
