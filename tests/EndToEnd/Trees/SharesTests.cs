using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>What several containers that move at once get of the link.</summary>
[Collection(AloneCollection.Name)]
public sealed class SharesTests
{
    /// <summary>Were one served after the other, the last would drain five times as long as the first.</summary>
    [SkippableFact]
    public async Task Five_at_once_have_equal_shares_of_the_link()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await lab["a"].LimitRateAsync(100);
        List<Walker> walkers = [];
        for (int i = 0; i < 5; i++)
        {
            walkers.Add(await Walker.StartAsync(lab, lab["a"], mebibytes: 16, threads: 1, name: $"share-{i}"));
        }

        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        {
            MigrationResult[] moved = await Task.WhenAll(walkers.Select(walker => Migration.RunAsync(lab, lab["a"], walker.Container, agent)));
            double[] drains = [.. moved.Select(static result => result.Expect(ExitCode.Moved, "moved").DrainMs).Order()];
            Assert.True(drains[^1] / drains[0] <= 2.5, $"drains of {string.Join(", ", drains)} ms");
        }

        foreach (Walker walker in walkers)
        {
            await walker.VerifyAsync();
            await walker.Container.RemoveFromAsync(lab["b"]);
        }

        await lab.AssertNothingLeftAsync();
    }
}
