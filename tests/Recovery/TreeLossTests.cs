using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>The root of a bare tree dies behind the hand-off while nobody works on the session: its children must not run on here beside their copies.</summary>
public sealed class TreeLossTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Children_of_a_root_that_died_frozen_never_run_here_again(bool resume)
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        string directory = Directory.CreateDirectory($"{lab.Shared}/orphan").FullName;
        int root = await BareTree.StartAsync(lab["a"], "sh", "-c", $"{lab.Programs}/walker {directory} 32 1 mixed & wait");
        Walker walker = Walker.At(directory);
        int child = (await walker.StatsAsync()).Pid;
        Assert.NotEqual(root, child);

        await lab["a"].LimitRateAsync(16);
        await using RunningAgent agent = await lab["b"].StartAgentAsync("--on-loss", "kill");
        await using Migration migration = Migration.StartProcess(lab, lab["a"], root, agent);
        await migration.WaitUntilItDrainsAsync();
        string session = Assert.Single(await Scene.StatusAsync(lab["a"])).GetProperty("session").GetString()!;
        Assert.Equal(1, await lab["a"].SignalAsync("KILL", "postcopy migrate"));
        await KillFrozenAsync(lab["a"], session, root);
        Assert.True(Directory.Exists($"{lab["a"].Root}/proc/{child}"), "the child has died with its root: there is nothing to see");

        CommandResult end = await lab["a"].TryAsync([Repository.PostCopy, .. resume ? (string[])["migrate", "--resume", session] : ["abort", session]]);
        Assert.True(end.ExitCode == ExitCode.Lost && end.Error.Contains("has died, and its memory with it", StringComparison.Ordinal), $"{end}");
        Assert.False(IsAlive(lab["a"], child), "the child lives on, on the source");
        walker.AssertNothingBadWasSeen();
        await lab["a"].AssertNothingLeftAsync();
    }

    /// <summary>With the freezer of cgroup v1 a SIGKILL takes effect at the thaw; CRIU holds the others all the same.</summary>
    private static async Task KillFrozenAsync(LabHost host, string session, int pid)
    {
        string hold = (await host.RunAsync("head", "-n1", $"/run/postcopy/{session}-source/hold")).Trim();
        await host.RunAsync("kill", "-KILL", $"{pid}");
        const string thawed = "if [ -e $0/freezer.state ]; then echo THAWED >$0/freezer.state; else echo 0 >$0/cgroup.freeze; fi";
        const string frozen = "if [ -e $0/freezer.state ]; then echo FROZEN >$0/freezer.state; else echo 1 >$0/cgroup.freeze; fi";
        await host.RunAsync("sh", "-c", thawed, hold);
        await Condition.WaitAsync(() => !IsAlive(host, pid), Limit, "the frozen root's end");
        await host.RunAsync("sh", "-c", frozen, hold);
    }

    /// <summary>A zombie is dead.</summary>
    private static bool IsAlive(LabHost host, int pid)
    {
        try
        {
            string stat = File.ReadAllText($"{host.Root}/proc/{pid}/stat");
            return stat[stat.LastIndexOf(')') + 2] is not ('Z' or 'X');
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return false;
        }
    }
}
