using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>Bare process trees move through plain CRIU, and what ties one to its host is said before anything is frozen.</summary>
public sealed class BareTreeTests
{
    /// <summary>MADV_WIPEONFORK: what the parent is still owed, a child that it forks must not get.</summary>
    [SkippableFact]
    public async Task A_child_finds_zeroes_where_its_parents_memory_is_not_for_it()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        string directory = Directory.CreateDirectory($"{lab.Shared}/wiped").FullName;
        int pid = await BareTree.StartAsync(lab["a"], $"{lab.Programs}/wiped", directory);
        await Condition.WaitAsync(() => File.Exists($"{directory}/ready"), TimeSpan.FromSeconds(30), "the program");
        // Nobody pushes: whatever is not brought before it runs, is owed when it forks.
        await using Migration migration = Migration.StartProcess(lab, lab["a"], pid, agent, "--policy", "none");
        await migration.WaitUntilItDrainsAsync();
        await File.WriteAllTextAsync($"{directory}/fork", "");
        await Condition.WaitAsync(() => File.Exists($"{directory}/result"), TimeSpan.FromSeconds(30), "the child to look");
        Assert.Equal("zero", await File.ReadAllTextAsync($"{directory}/result"));
        await lab["b"].RunAsync("kill", "-KILL", $"{pid}");
        (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    private static readonly string[] Family = ["fork", "threads", "mremap", "arena", "shell"];

    [SkippableFact]
    public async Task A_tree_moves_there_and_back_and_outlives_the_agents()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await lab["a"].LimitRateAsync(200);
        Storm storm = await Storm.StartBareAsync(lab, lab["a"], seed: 11, Family);
        await MoveAsync(lab, storm, "a", "b");
        // The agent is gone, and the tree lives on.
        await storm.WaitForRoundsAsync(3);
        Assert.Contains("/postcopy-trees", await lab["b"].RunAsync("cat", $"/proc/{storm.Pid}/cgroup"), StringComparison.Ordinal);
        Assert.Equal("1", (await lab["b"].RunAsync("ps", "-o", "ppid=", "-p", $"{storm.Pid}")).Trim());
        // Host a has used numbers as high as the tree's for itself meanwhile; its next ones are to be low.
        await lab["a"].RunAsync("sh", "-c", "echo 1000 >/proc/sys/kernel/ns_last_pid");
        await MoveAsync(lab, storm, "b", "a");
        await storm.WaitForRoundsAsync(3);

        await storm.FinishAsync();
        storm.Log.AssertRanOn("a", "b", "a");
        await (await lab["a"].StartAgentAsync()).DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_tree_that_cannot_be_restored_runs_on_where_it_was()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        Storm storm = await Storm.StartBareAsync(lab, lab["a"], seed: 12, "fork", "gc");
        string cgroups = await lab["a"].RunAsync("cat", $"/proc/{storm.Pid}/cgroup");
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        {
            MigrationResult result = await BareTree.MoveInVainAsync(lab, lab["a"], storm.Pid, agent);
            Assert.True(result.Error.Contains($"{lab.Programs[1..]}/storm", StringComparison.Ordinal), $"it should have named the program: {result.Command}");
        }

        await storm.WaitForRoundsAsync(3);
        Assert.Equal(cgroups, await lab["a"].RunAsync("cat", $"/proc/{storm.Pid}/cgroup"));
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a");
        await lab.AssertNothingLeftAsync();
    }

    [SkippableTheory]
    [InlineData("script -qc 'sleep 300' /dev/null", "controlling terminal")]
    [InlineData("setsid sh -c 'sleep 300; true' </dev/null >/dev/null 2>&1", "setsid")]
    [InlineData("setsid unshare --uts sleep 300 </dev/null >/dev/null 2>&1", "uts namespace")]
    public async Task What_ties_a_tree_to_its_host_is_said_before_the_freeze(string command, string reason)
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        await using RunningCommand running = lab["a"].Start("sh", "-c", command);
        int pid = 0;
        await Condition.WaitAsync(
            async () => int.TryParse((await lab["a"].TryAsync("pgrep", "-nxf", "sleep 300")).Output, out pid), TimeSpan.FromSeconds(20), "the program to start");
        await using Migration migration = Migration.StartProcess(lab, lab["a"], pid, agent);
        MigrationResult result = await migration.WaitAsync();
        result.Expect(ExitCode.Cannot, "refused");
        Assert.Contains(reason, result.Error, StringComparison.Ordinal);
        await lab["a"].RunAsync("kill", "-KILL", $"{pid}");
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_pid_that_is_taken_on_the_destination_is_named()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Storm storm = await Storm.StartBareAsync(lab, lab["a"], seed: 13, "fork");
        // A thread of the agent's may get the number first, and end.
        const string takePid = """
            for try in $(seq 100); do
                echo $(($1 - 1)) >/proc/sys/kernel/ns_last_pid
                setsid sleep 300 </dev/null >/dev/null 2>&1 &
                [ $! = $1 ] && exit 0
                kill $!
            done
            exit 1
            """;
        await lab["b"].RunAsync("sh", "-c", takePid, "sh", $"{storm.Pid}");
        await using Migration migration = Migration.StartProcess(lab, lab["a"], storm.Pid, agent);
        MigrationResult result = await migration.WaitAsync();
        result.Expect(ExitCode.Cannot, "refused");
        Assert.True(result.Error.Contains($"pid {storm.Pid}", StringComparison.Ordinal), $"it should have named pid {storm.Pid}: {result.Command}");
        await storm.FinishAsync();
        storm.Log.AssertRanOn("a");
        await lab["b"].RunAsync("kill", "-KILL", $"{storm.Pid}");
        await agent.DisposeAsync();
        await lab.AssertNothingLeftAsync();
    }

    private static async Task MoveAsync(Lab lab, Storm storm, string from, string to)
    {
        await using RunningAgent agent = await lab[to].StartAgentAsync();
        await using Migration migration = Migration.StartProcess(lab, lab[from], storm.Pid, agent);
        MigrationReport report = (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        Assert.Empty(report.Errors);
        Assert.True(report.Pages.Total > 0);
    }
}
