using System.Globalization;
using PostCopy.Linux;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Linux;

/// <summary>Real processes, gathered and let go again.</summary>
public sealed class HoldCgroupTests : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    private readonly List<ChildProcess> _processes = [];
    private readonly List<string> _cgroups = [];

    [SkippableFact]
    public void Everybody_goes_back_where_they_were_and_who_has_no_such_place_to_the_firsts()
    {
        Skip.IfNot(OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess, "root only");
        string first = MakeCgroup(FreezerCgroup.Root), second = MakeCgroup(first), third = MakeCgroup(FreezerCgroup.Root);
        int root = StartIn(first), child = StartIn(second), orphan = StartIn(third), late = StartIn(third);
        HoldCgroup hold = HoldCgroup.Around([root, child, orphan], "hold");
        Assert.Equal(Path.Combine(first, "hold"), hold.Directory);
        Assert.Equal(new[] { root, child, orphan }.Order(), hold.Freezer.Processes().Order());
        Assert.All([root, child, orphan], pid => Assert.Equal(hold.Directory, FreezerCgroup.DirectoryOf(pid)));

        // Forked by one of them meanwhile, for example.
        Enter(hold.Directory, late);
        // Who manages it finds it empty.
        Directory.Delete(third);
        HoldCgroup.Again(hold.Directory, hold.Homes).Leave();
        Assert.False(Directory.Exists(hold.Directory));
        Assert.Equal([first, second, first, first], new[] { root, child, orphan, late }.Select(FreezerCgroup.DirectoryOf));
        HoldCgroup.Again(hold.Directory, hold.Homes).Leave();
    }

    [SkippableFact]
    public void A_tree_is_held_by_the_first_cgroup_above_that_has_all_of_it()
    {
        Skip.IfNot(OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess, "root only");
        string container = MakeCgroup(FreezerCgroup.Root), ofInit = MakeCgroup(container), ofOthers = MakeCgroup(container), elsewhere = MakeCgroup(FreezerCgroup.Root);
        int init = StartIn(ofInit), other = StartIn(ofOthers), stray = StartIn(elsewhere);
        Assert.Equal(ofInit, FreezerCgroup.TryAround(init, [init])!.Directory);
        Assert.Equal(container, FreezerCgroup.TryAround(init, [init, other])!.Directory);
        // The root of the hierarchy is the whole host.
        Assert.Equal(ofInit, FreezerCgroup.TryAround(init, [init, other, stray])!.Directory);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (ChildProcess process in _processes)
        {
            process.Kill(Signal.SIGKILL);
            await process.WaitAsync(CancellationToken.None).WaitAsync(Limit);
        }

        foreach (string cgroup in _cgroups.AsEnumerable().Reverse())
        {
            await Condition.WaitAsync(() => IsRemoved(cgroup), Limit, $"{cgroup} to be empty");
        }
    }

    private static bool IsRemoved(string cgroup)
    {
        try
        {
            Directory.Delete(cgroup);
            return true;
        }
        catch (IOException)
        {
            return !Directory.Exists(cgroup);
        }
    }

    private static void Enter(string cgroup, int pid) => File.WriteAllText(Path.Combine(cgroup, "cgroup.procs"), pid.ToString(CultureInfo.InvariantCulture));

    private string MakeCgroup(string parent)
    {
        string cgroup = Directory.CreateDirectory(Path.Combine(parent, $"postcopy-test-{Guid.NewGuid():N}")).FullName;
        _cgroups.Add(cgroup);
        return cgroup;
    }

    private int StartIn(string cgroup)
    {
        ChildProcess process = ChildProcess.Start(ChildPath.Find("sleep")!, ["1000"]);
        _processes.Add(process);
        Enter(cgroup, process.Pid);
        return process.Pid;
    }
}
