using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>Real garbage collectors, with their own ways of giving memory back, moved as bare trees.</summary>
[Collection(EndToEndCollection.Name)]
public sealed class ManagedHeapTests
{
    [SkippableTheory]
    [InlineData("dotnet")]
    [InlineData("java")]
    public async Task A_heap_moves_while_it_is_collected(string language)
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await lab["a"].LimitRateAsync(200);
        Storm heap = await Storm.StartBareAsync(lab, lab["a"], seed: 18, await ManagedHeap.CommandAsync(lab, language), workers: []);
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        await using (Migration migration = Migration.StartProcess(lab, lab["a"], heap.Pid, agent))
        {
            MigrationReport report = (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
            Assert.Empty(report.Errors);
            Assert.True(report.Pages.Total > 4096, $"{report.Pages}");
        }

        await heap.WaitForRoundsAsync(50);
        await heap.FinishAsync();
        heap.Log.AssertRanOn("a", "b");
        await lab.AssertNothingLeftAsync();
    }
}
