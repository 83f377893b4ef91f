using System.Globalization;
using PostCopy.Criu;
using PostCopy.Linux;

namespace PostCopy.Trees;

/// <summary>Dumps a bare process tree through <c>criu dump</c>.</summary>
internal sealed class ProcessCheckpoint(int rootPid) : ICheckpointEngine
{
    public string Subject => $"process {rootPid}";

    public IReadOnlyDictionary<string, byte[]>? EarlyImages() => new Dictionary<string, byte[]>();

    public Task<CheckpointTarget> FindAsync(CancellationToken cancellation) =>
        Task.FromResult(new CheckpointTarget(rootPid, Subject, "", ProcessTree.Inspect(rootPid)));

    /// <inheritdoc/>
    /// <remarks>CRIU stops the processes of a tree one by one.</remarks>
    public FreezerCgroup? FrozenByCriu() => null;

    public ChildProcess Start(CriuSession criu) => ChildProcess.Start(
        CriuProgram.Path,
        ["dump", "--tree", rootPid.ToString(CultureInfo.InvariantCulture), .. CriuCommand.Common(criu, "dump.log")],
        criu.Environment,
        criu.RuncOutput.Descriptors,
        newSession: true);

    public FreezerCgroup Gather(CriuSession criu, int root, IReadOnlyList<int> tasks)
    {
        if (Saved(criu) is not { } hold)
        {
            hold = HoldCgroup.Plan([root, .. tasks.Where(pid => pid != root)], "postcopy-" + Path.GetFileName(criu.Directory));
            Save(hold, criu);
        }

        hold.Enter();
        return tasks.Except(hold.Freezer.Processes()).ToArray() is { Length: > 0 } strays
            ? throw new TreeException($"process {string.Join(", ", strays)} cannot be put into the cgroup {hold.Directory}, so it cannot be held safely")
            : hold.Freezer;
    }

    public FreezerCgroup? Gathered(CriuSession criu) => Saved(criu) is { } hold && Directory.Exists(hold.Directory) ? hold.Freezer : null;

    public void Release(CriuSession criu) => Saved(criu)?.Leave();

    public async Task RemoveAsync(CriuSession criu, CancellationToken cancellation)
    {
        if (Gathered(criu) is { } freezer)
        {
            // Whoever leaves it is thawed: a task that nobody has killed so far, because its root had died or killing failed, would run here beside its copy.
            await freezer.KillAllAsync(cancellation).ConfigureAwait(false);
        }

        Saved(criu)?.Leave();
        // Where it lived, if it came by a restore.
        TreeCgroup.RemoveUnused();
    }

    /// <summary>For who goes on when we have died: the cgroup, then a line for each task with its pid and where it was.</summary>
    private static void Save(HoldCgroup hold, CriuSession criu) =>
        File.WriteAllLines(HoldFile(criu), [hold.Directory, .. hold.Homes.Select(static home => $"{home.Pid} {home.Cgroup}")]);

    private static HoldCgroup? Saved(CriuSession criu)
    {
        if (!File.Exists(HoldFile(criu)) || File.ReadAllLines(HoldFile(criu)) is not [var directory, .. var lines])
        {
            return null;
        }

        return HoldCgroup.Again(directory, [.. lines.Select(static line => line.Split(' ', 2)).Select(static home => new TaskHome(int.Parse(home[0], CultureInfo.InvariantCulture), home[1]))]);
    }

    private static string HoldFile(CriuSession criu) => Path.Combine(criu.Directory, "hold");
}
