using System.Globalization;
using PostCopy.Linux;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Linux;

/// <summary>Real processes in a cgroup of v1 and of v2.</summary>
public sealed class FreezerCgroupTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(20);

    [SkippableTheory]
    [InlineData("cgroup", "freezer")]
    [InlineData("cgroup2", null)]
    public async Task Who_is_in_it_stands_still_until_the_thaw(string type, string? controller)
    {
        (FreezerCgroup cgroup, ChildProcess child) = Start(type, controller);
        try
        {
            await Condition.WaitAsync(() => RunMs(child.Pid) > 2, Limit, "the process to run");
            cgroup.Freeze();
            Assert.Equal(child.Pid, Assert.Single(cgroup.Processes()));
            await Condition.WaitAsync(() => IsFrozen(cgroup), Limit, "the kernel to say that all are frozen");
            long still = RunMs(child.Pid);
            // That nothing happens can only be seen by giving it time to.
            await Task.Delay(TimeSpan.FromMilliseconds(100));
            Assert.Equal(still, RunMs(child.Pid));

            cgroup.Thaw();
            await Condition.WaitAsync(() => RunMs(child.Pid) > still + 2, Limit, "the process to run on");

            cgroup.Freeze();
            ProcessSignal.Kill(child.Pid);
            cgroup.Thaw();
            await child.WaitAsync(CancellationToken.None).WaitAsync(Limit);
        }
        finally
        {
            await RemoveAsync(cgroup, child);
        }
    }

    [SkippableTheory]
    [InlineData("cgroup", "freezer")]
    [InlineData("cgroup2", null)]
    public async Task Cgroups_below_freeze_with_it_and_are_counted(string type, string? controller)
    {
        (FreezerCgroup cgroup, ChildProcess child) = Start(type, controller);
        try
        {
            string below = Path.Combine(cgroup.Directory, "below");
            Directory.CreateDirectory(below);
            File.WriteAllText(Path.Combine(below, "cgroup.procs"), child.Pid.ToString(CultureInfo.InvariantCulture));
            Assert.Equal(child.Pid, Assert.Single(cgroup.Processes()));
            cgroup.Freeze();
            await Condition.WaitAsync(() => IsFrozen(cgroup), Limit, "the kernel to say that all are frozen");
            cgroup.Thaw();
            long still = RunMs(child.Pid);
            await Condition.WaitAsync(() => RunMs(child.Pid) > still, Limit, "the process to run on");
        }
        finally
        {
            await RemoveAsync(cgroup, child);
        }
    }

    private static (FreezerCgroup Cgroup, ChildProcess Child) Start(string type, string? controller)
    {
        string? mount = FreezerCgroup.Mounts(type, controller).FirstOrDefault();
        Skip.If(mount is null, $"no {type} is mounted here");
        string directory = Path.Combine(mount, $"postcopy-test-{Environment.ProcessId}-{Guid.NewGuid():N}");
        Skip.If(!TryCreate(directory), $"no cgroup may be made in {mount}");
        // Counts for as long as it is let.
        ChildProcess child = ChildProcess.Start(ChildPath.Find("sh")!, ["-c", "while :; do n=0; while [ $n -lt 2000 ]; do n=$((n+1)); done; done"]);
        FreezerCgroup cgroup = FreezerCgroup.At(directory);
        Assert.Equal(type == "cgroup2" ? "cgroup.freeze" : "freezer.state", Path.GetFileName(cgroup.Switch.File));
        File.WriteAllText(Path.Combine(directory, "cgroup.procs"), child.Pid.ToString(CultureInfo.InvariantCulture));
        return (cgroup, child);
    }

    private static bool TryCreate(string directory)
    {
        try
        {
            Directory.CreateDirectory(directory);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static async Task RemoveAsync(FreezerCgroup cgroup, ChildProcess child)
    {
        child.Kill(Signal.SIGKILL);
        cgroup.Thaw();
        await child.WaitAsync(CancellationToken.None).WaitAsync(Limit);
        foreach (string directory in Directory.GetDirectories(cgroup.Directory).Append(cgroup.Directory))
        {
            await Condition.WaitAsync(() => IsRemoved(directory), Limit, "the cgroup to be empty");
        }
    }

    private static bool IsRemoved(string directory)
    {
        try
        {
            Directory.Delete(directory);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static bool IsFrozen(FreezerCgroup cgroup)
    {
        string events = Path.Combine(cgroup.Directory, "cgroup.events");
        return File.Exists(events)
            ? File.ReadLines(events).Contains("frozen 1")
            : File.ReadAllText(Path.Combine(cgroup.Directory, "freezer.state")).Trim() == "FROZEN";
    }

    /// <summary>The processor time that it has had (proc_pid_schedstat: nanoseconds), in milliseconds.</summary>
    private static long RunMs(int pid) => long.Parse(File.ReadAllText($"/proc/{pid}/schedstat").Split(' ')[0], CultureInfo.InvariantCulture) / 1_000_000;
}
