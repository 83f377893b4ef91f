using System.Globalization;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>Containers of kinds that need something of their host.</summary>
public sealed class KindTests
{
    private const string UserfaultfdSysctl = "/proc/sys/vm/unprivileged_userfaultfd";
    private const string HugePagesSysctl = "/proc/sys/vm/nr_hugepages";

    [SkippableFact]
    public async Task A_user_namespace_of_its_own_needs_the_sysctl_and_that_is_said_before_the_freeze()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 16, configure: Bundle.AddUserNamespaceAsync);
        await using (await Sysctl.SetAsync(UserfaultfdSysctl, 0))
        {
            MigrationResult refused = await Migration.RunAsync(lab, lab["a"], walker.Container, agent);
            refused.Expect(ExitCode.Cannot, "refused");
            Assert.Contains("vm.unprivileged_userfaultfd=1", refused.Error, StringComparison.Ordinal);
        }

        await using (await Sysctl.SetAsync(UserfaultfdSysctl, 1))
        {
            (await Migration.RunAsync(lab, lab["a"], walker.Container, agent)).Expect(ExitCode.Moved, "moved");
        }

        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task Collapsed_memory_is_in_huge_pages_again()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        // Its heap is filled from end to end.
        Storm storm = await Storm.StartAsync(lab, lab["a"], seed: 20, "cow");
        (await Migration.RunAsync(lab, lab["a"], storm.Container, agent, "--collapse")).Expect(ExitCode.Moved, "moved");
        await Condition.WaitAsync(() => agent.Process.Error.Contains("are in huge pages", StringComparison.Ordinal), TimeSpan.FromSeconds(60), "the agent to have joined them");
        Skip.IfNot(File.Exists("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"), "this kernel has no huge pages");
        int joined = await WithHugePagesAsync(lab["b"], "storm");
        Assert.True(joined >= 5, $"{joined}\n{agent.Process.Error}");
        await storm.WaitForRoundsAsync(3);
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
        await storm.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task Memory_is_joined_while_it_arrives()
    {
        Bed.RequirePostCopy();
        Skip.IfNot(File.Exists("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"), "this kernel has no huge pages");
        await using Lab lab = await Lab.UpAsync("a", "b");
        await lab["a"].LimitRateAsync(24);
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 32, contents: "full");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        await using Migration migration = Migration.Start(lab, lab["a"], walker.Container.Id, agent.Endpoint, agent.TokenFile, "--collapse");
        await migration.WaitUntilItDrainsAsync();
        await Condition.WaitAsync(async () => await WithHugePagesAsync(lab["b"], "walker") == 1, TimeSpan.FromSeconds(20), "a huge page");
        Assert.DoesNotContain("is complete", agent.Process.Error, StringComparison.Ordinal);
        await lab["a"].UnlimitRateAsync();
        (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task Pages_of_hugetlb_travel_in_the_images()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        await using IAsyncDisposable reserved = await Sysctl.SetAsync(HugePagesSysctl, 8);
        Skip.IfNot(int.Parse(await File.ReadAllTextAsync(HugePagesSysctl), CultureInfo.InvariantCulture) == 8, "no huge pages can be reserved here");
        Storm storm = await Storm.StartAsync(lab, lab["a"], seed: 16, "hugetlb", "fork");
        (await Migration.RunAsync(lab, lab["a"], storm.Container, agent)).Expect(ExitCode.Moved, "moved");
        await storm.WaitForRoundsAsync(3);
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
        await storm.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_stack_pointer_at_the_start_of_a_page_keeps_no_memory_back()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Storm storm = await Storm.StartAsync(lab, lab["a"], seed: 21, "border");
        MigrationResult result = await Migration.RunAsync(lab, lab["a"], storm.Container, agent);
        MigrationReport report = result.Expect(ExitCode.Moved, "moved");
        Assert.Contains("a thread's stack pointer was at the start of a page", result.Error, StringComparison.Ordinal);
        Assert.True(report.Pages.Total >= 4096, $"{report.Pages}");
        await storm.WaitForRoundsAsync(3);
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
        await storm.Container.RemoveFromAsync(lab["b"]);
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    /// <summary>How many processes of a program have memory in huge pages.</summary>
    private static async Task<int> WithHugePagesAsync(LabHost host, string program) =>
        (await host.RunAsync("sh", "-c", $"for pid in $(pgrep -x {program}); do grep AnonHugePages /proc/$pid/smaps_rollup; done"))
            .Split('\n').Count(static line => line.Length > 0 && !line.Contains(" 0 kB", StringComparison.Ordinal));
}
