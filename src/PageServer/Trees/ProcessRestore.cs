using System.Globalization;
using PostCopy.Criu;
using PostCopy.Linux;

namespace PostCopy.Trees;

/// <summary>
/// Restores a bare process tree through <c>criu restore</c>. The tree becomes a child of the host's init, in its own session and in a cgroup of its own:
/// neither the agent's end nor that of the agent's service ends it.
/// </summary>
internal sealed class ProcessRestore(IReadOnlyList<int> pids) : IRestoreEngine
{
    /// <summary>More processes and threads than a tree has that CRIU can still dump in seconds.</summary>
    private const int MaxPids = 65536;

    private const string PidMaxSysctl = "/proc/sys/kernel/pid_max";

    /// <summary>Colliding numbers that are named; one is enough to know.</summary>
    private const int MaxNamed = 5;

    // sh, not bash, which would take the hook in BASH_ENV for its start-up file. Joins the cgroups, then becomes CRIU.
    private const string JoinAndRun = """while [ "$1" != -- ]; do echo $$ >"$1" || exit 1; shift; done; shift; exec "$@" """;

    public Task AddRefusalsAsync(ICollection<string> refusals, CancellationToken cancellation)
    {
        if (pids.Count > MaxPids)
        {
            refusals.Add($"the tree has {pids.Count} processes and threads, at most {MaxPids} are accepted");
            return Task.CompletedTask;
        }

        int most = int.Parse(File.ReadAllText(PidMaxSysctl), CultureInfo.InvariantCulture);
        if (pids.Where(pid => pid >= most).ToArray() is { Length: > 0 } tooLarge)
        {
            refusals.Add($"pid {tooLarge.Max()} is above what this host gives out, and a process keeps its pid when it moves: sysctl -w kernel.pid_max={tooLarge.Max() + 1} or more, or move the tree in a container");
        }

        int[] taken = [.. pids.Where(static pid => Directory.Exists($"/proc/{pid}")).Take(MaxNamed)];
        if (taken.Length > 0)
        {
            refusals.Add($"pid {string.Join(", ", taken)} is taken here by another process, and a process keeps its pid when it moves: end that process, or move the tree in a container");
        }

        return Task.CompletedTask;
    }

    public ChildProcess Start(CriuSession criu)
    {
        TreeCgroup cgroup = CgroupOf(criu);
        cgroup.Create();
        string shell = ChildPath.Find("sh") ?? throw new TreeException("sh is not on PATH");
        return ChildProcess.Start(
            shell,
            ["-c", JoinAndRun, "postcopy-restore", .. cgroup.Doors, "--", CriuProgram.Path, "restore", "--restore-detached", .. CriuCommand.Common(criu, "restore.log")],
            criu.Environment,
            criu.RuncOutput.Descriptors,
            newSession: true);
    }

    public Task<bool> IsRunningAsync(CriuSession criu, CancellationToken cancellation)
    {
        FreezerCgroup freezer = CgroupOf(criu).Freezer;
        return Task.FromResult(Directory.Exists(freezer.Directory) && freezer.Processes().Count > 0);
    }

    public void Freeze(CriuSession criu, int initPid) => CgroupOf(criu).Freezer.Freeze();

    public async Task RemoveAsync(CriuSession criu, CancellationToken cancellation)
    {
        TreeCgroup cgroup = CgroupOf(criu);
        FreezerCgroup freezer = cgroup.Freezer;
        if (!Directory.Exists(freezer.Directory))
        {
            return;
        }

        // CRIU kills what it has built; this is for when it could not.
        await freezer.KillAllAsync(cancellation).ConfigureAwait(false);
        cgroup.Remove();
    }

    public void Settle(CriuSession criu) => CgroupOf(criu).Leave();

    private static TreeCgroup CgroupOf(CriuSession criu) => TreeCgroup.Named(Path.GetFileName(criu.Directory));
}
