using System.Globalization;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>
/// Whatever programs do to their memory while it is still arriving, it comes out right. The link is slow, so that most of it happens during the
/// drain. POSTCOPY_STORM_SEED repeats a run's decisions, POSTCOPY_STORM_SECONDS makes the storm long (eng/soak.sh storm).
/// </summary>
public sealed class StormTests(Xunit.Abstractions.ITestOutputHelper output)
{
    private const int MegabitsPerSecond = 100;

    /// <summary>Everything, in families whose members disturb each other most.</summary>
    private static readonly string[] Everything =
    [
        "threads", "fork", "cow", "exec", "vfork", "shell", "exits", "zombies", "mremap", "unmap", "madvise", "protect", "arena", "gc", "fresh", "stacks",
        "locked", "shared", "files", "huge", "nohuge", "ksm", "sparse", "zero", "seccomp", "border",
    ];

    [SkippableTheory]
    [InlineData("threads stacks fresh")]
    [InlineData("fork cow exec vfork shell")]
    [InlineData("exits zombies fork")]
    [InlineData("mremap unmap madvise protect")]
    [InlineData("arena gc madvise")]
    [InlineData("locked shared files seccomp")]
    [InlineData("huge nohuge ksm sparse zero")]
    public Task A_family_moves_while_it_works(string workers) => MoveAsync(workers.Split(' '), "b");

    [SkippableFact]
    public async Task Everything_together_moves_again_and_again()
    {
        TimeSpan length = TimeSpan.FromSeconds(double.Parse(Environment.GetEnvironmentVariable("POSTCOPY_STORM_SECONDS") ?? "10", CultureInfo.InvariantCulture));
        DateTime end = DateTime.UtcNow + length;
        List<string> path = ["b"];
        await MoveAsync(Everything, "b", moved =>
        {
            // There and back at least: on a slow machine the first way may take all of the time.
            bool more = moved < 2 || DateTime.UtcNow < end;
            if (more)
            {
                path.Add(moved % 2 == 0 ? "b" : "a");
            }

            return more ? path[^1] : null;
        });
    }

    private async Task MoveAsync(string[] workers, string first, Func<int, string?>? next = null)
    {
        Bed.RequirePostCopy();
        ulong seed = ulong.TryParse(Environment.GetEnvironmentVariable("POSTCOPY_STORM_SEED"), CultureInfo.InvariantCulture, out ulong given)
            ? given
            : (ulong)Random.Shared.NextInt64();
        output.WriteLine($"POSTCOPY_STORM_SEED={seed}");
        await using Lab lab = await Lab.UpAsync("a", "b");
        await lab["a"].LimitRateAsync(MegabitsPerSecond);
        await lab["b"].LimitRateAsync(MegabitsPerSecond);
        await using RunningAgent onA = await lab["a"].StartAgentAsync();
        await using RunningAgent onB = await lab["b"].StartAgentAsync();
        Storm storm = await Storm.StartAsync(lab, lab["a"], seed, workers);
        List<string> visited = ["a"];
        for (string? to = first; to is not null; to = next?.Invoke(visited.Count - 1))
        {
            MigrationResult result = await Migration.RunAsync(lab, lab[visited[^1]], storm.Container, to == "a" ? onA : onB);
            MigrationReport report = result.Expect(ExitCode.Moved, "moved");
            Assert.Empty(report.Errors);
            output.WriteLine($"{visited[^1]} to {to}: downtime {report.DowntimeMs} ms, drain {report.DrainMs} ms, {report.Pages}, {report.Faults}");
            visited.Add(to);
            await storm.WaitForRoundsAsync(3);
        }

        output.WriteLine(string.Join(' ', storm.Rounds()));
        await storm.FinishAsync();
        storm.Log.AssertRanOn([.. visited]);
        await storm.Container.RemoveFromAsync(lab[visited[^1]]);
        await onA.DisposeAsync();
        await onB.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }
}
