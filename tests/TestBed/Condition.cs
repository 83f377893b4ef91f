using System.Diagnostics;

namespace PostCopy.Tests.TestBed;

internal static class Condition
{
    /// <summary>Waits for something that cannot announce itself.  Looks often: nothing is slept for.</summary>
    public static async Task WaitAsync(Func<bool> holds, TimeSpan limit, string what)
    {
        Stopwatch waited = Stopwatch.StartNew();
        while (!holds())
        {
            if (waited.Elapsed > limit)
            {
                throw new TimeoutException($"not within {limit}: {what}");
            }

            await Task.Delay(5);
        }
    }
}
