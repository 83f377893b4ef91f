using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd;

/// <summary>Memory is copied while the container runs, and behind the freeze what is still true of it is put in place on the destination.</summary>
[Collection(EndToEndCollection.Name)]
public sealed class PreCopyTests
{
    [SkippableFact]
    public async Task Most_memory_is_there_before_the_freeze()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 128);
        WalkerStats before = await walker.StatsAsync();
        MigrationReport report;
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        {
            MigrationResult result = await Migration.RunAsync(lab, lab["a"], walker.Container, agent, "--pre-copy", "--verify");
            report = result.Expect(ExitCode.Moved, "moved");
        }

        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        WalkerStats after = await walker.StatsAsync();
        Assert.Equal((before.Nonce, before.Pid, 0), (after.Nonce, after.Pid, after.Bad));
        Assert.Empty(report.Errors);
        Assert.NotNull(report.PreCopy);
        Assert.NotEmpty(report.PreCopy.Rounds);
        Assert.True(report.PreCopy.Rounds[0].Pages >= before.Pages * 15 / 16, $"{report.PreCopy.Rounds[0].Pages} pages in the first round");
        Assert.True(report.Pages.Staged > report.Pages.Total / 2, $"{report.Pages.Staged} of {report.Pages.Total} pages were there at the freeze");
        Assert.True(report.Pages.Stale > 0, "the walker writes all the time: some of what was copied must have been written since");
        Assert.True(report.PreCopy.BytesAfter < report.PreCopy.BytesBefore, $"{report.PreCopy.BytesBefore} bytes before the freeze, {report.PreCopy.BytesAfter} behind");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }
}
