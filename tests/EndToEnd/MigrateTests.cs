using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd;

/// <summary>A container moves, and proves itself that nothing of it was lost or ran twice.</summary>
public sealed class MigrateTests
{
    [SkippableFact]
    public async Task A_container_that_reads_and_writes_moves_whole()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 256);
        WalkerStats before = await walker.StatsAsync();
        await walker.VerifyAsync();
        MigrationReport report;
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        {
            MigrationResult result = await Migration.RunAsync(lab, lab["a"], walker.Container, agent);
            report = result.Expect(ExitCode.Moved, "moved");
        }

        await walker.VerifyAsync();
        WalkerStats after = await walker.StatsAsync();
        Assert.Equal((before.Nonce, before.StartedNs, before.Pid), (after.Nonce, after.StartedNs, after.Pid));
        Assert.Equal(0, after.Bad);
        Assert.True(after.Writes > before.Writes, "it should have gone on writing");
        Assert.True(after.MonotonicNs > before.MonotonicNs, "its clock went back");
        walker.AssertRanOn("a", "b");
        Assert.Null(await walker.Container.StatusOnAsync(lab["a"]));
        Assert.Equal("running", await walker.Container.StatusOnAsync(lab["b"]));
        AssertPlausible(report, memoryPages: before.Pages);

        await walker.Container.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_container_gets_another_name_and_bundle()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 16);
        string bundle = await Bundle.CopyAsync(lab, walker.Container.Bundle, "bundle-there");
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        {
            (await Migration.RunAsync(lab, lab["a"], walker.Container, agent, "--bundle", bundle, "--as", "renamed")).Expect(ExitCode.Moved, "moved");
        }

        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        Container there = new("renamed", bundle);
        Assert.Equal("running", await there.StatusOnAsync(lab["b"]));
        await there.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task Stop_copy_moves_everything_before_it_runs()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        const int Workers = 2;
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 64, Workers);
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        {
            MigrationResult result = await Migration.RunAsync(lab, lab["a"], walker.Container, agent, "--mode", "stop-copy");
            MigrationReport report = result.Expect(ExitCode.Moved, "moved");
            Assert.Equal("stop-copy", report.Mode);
            // CRIU itself touches one page a thread (its rseq area) while it restores; the program none.
            Assert.InRange(report.Faults.Count, 0, Workers + 1);
        }

        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }

    private static void AssertPlausible(MigrationReport report, long memoryPages)
    {
        Assert.Equal("post-copy", report.Mode);
        Assert.NotEmpty(report.Session);
        Assert.Empty(report.Errors);
        // A page of zeroes that was never written is not in CRIU's page map at all: 1 in 16 of the walker's.
        Assert.InRange(report.Pages.Total, memoryPages * 15 / 16, memoryPages * 2);
        Assert.True(report.Pages.Zero >= memoryPages / 16, $"{report.Pages.Zero} zero pages");
        long arrived = report.Pages.Pushed + report.Pages.Faulted + report.Pages.Staged + report.Pages.Dropped;
        Assert.True(arrived >= report.Pages.Total, $"{arrived} of {report.Pages.Total} pages are accounted for");
        Assert.True(report.Faults.Count >= report.Pages.Faulted, "every faulted page was a fault");
        Assert.True(report.Faults.P50Us <= report.Faults.P99Us && report.Faults.P99Us <= report.Faults.MaxUs);
        Assert.InRange(report.DowntimeMs, 1, report.TotalMs);
        Assert.InRange(report.DowntimeErrorMs, 0, report.DowntimeMs);
        Assert.InRange(report.DumpMs + report.RestoreMs, 1, report.TotalMs);
        Assert.True(report.BytesOnWire >= (report.Pages.Pushed - report.Pages.Zero) * 4096, $"{report.BytesOnWire} bytes");
        Assert.True(report.RateMBps > 0);
    }
}
