using System.Diagnostics;

namespace PostCopy.Tests.TestBed;

internal static class Condition
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(5);

    /// <summary>Waits for something that cannot announce itself.  Looks often: nothing is slept for.</summary>
    public static Task WaitAsync(Func<bool> holds, TimeSpan limit, string what) => WaitAsync(() => Task.FromResult(holds()), limit, what, Pause);

    /// <summary>The same for what a command must be run to see: commands are not run in a row without a rest.</summary>
    public static Task WaitAsync(Func<Task<bool>> holds, TimeSpan limit, string what) => WaitAsync(holds, limit, what, TimeSpan.FromMilliseconds(50));

    private static async Task WaitAsync(Func<Task<bool>> holds, TimeSpan limit, string what, TimeSpan pause)
    {
        Stopwatch waited = Stopwatch.StartNew();
        while (!await holds())
        {
            if (waited.Elapsed > limit)
            {
                throw new TimeoutException($"not within {limit}: {what}");
            }

            await Task.Delay(pause);
        }
    }
}
