using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>Real garbage collectors, with their own ways of giving memory back, moved as bare trees.</summary>
public sealed class ManagedHeapTests
{
    private const string OvercommitSysctl = "/proc/sys/vm/overcommit_memory";

    [SkippableFact]
    public async Task What_cannot_be_mapped_on_the_destination_is_refused_before_the_freeze()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        Storm heap = await Storm.StartBareAsync(lab, lab["a"], seed: 19, await ManagedHeap.CommandAsync("dotnet"), workers: []);
        await using IAsyncDisposable strict = await Sysctl.SetAsync(OvercommitSysctl, 0);
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        await using Migration migration = Migration.StartProcess(lab, lab["a"], heap.Pid, agent);
        MigrationResult result = await migration.WaitAsync();
        result.Expect(ExitCode.Cannot, "refused");
        Assert.Contains("vm.overcommit_memory", result.Error, StringComparison.Ordinal);
        await heap.WaitForRoundsAsync(3);
        await heap.FinishAsync();
        heap.Log.AssertRanOn("a");
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    /// <summary>.NET, which builds this, and Java where it happens to be.</summary>
    public static TheoryData<string> Languages => ManagedHeap.HasJava ? ["dotnet", "java"] : ["dotnet"];

    [SkippableTheory]
    [MemberData(nameof(Languages))]
    public async Task A_heap_moves_while_it_is_collected(string language)
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await lab["a"].LimitRateAsync(400);
        Storm heap = await Storm.StartBareAsync(lab, lab["a"], seed: 18, await ManagedHeap.CommandAsync(language), workers: []);
        // They reserve much more address space than there is memory, without access; CRIU maps it writable for a moment.
        await using IAsyncDisposable generous = await Sysctl.SetAsync(OvercommitSysctl, 1);
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
        await (await lab["b"].StartAgentAsync()).DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }
}
