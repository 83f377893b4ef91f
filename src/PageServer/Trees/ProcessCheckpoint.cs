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
        CriuCommand.Program,
        ["dump", "--tree", rootPid.ToString(CultureInfo.InvariantCulture), .. CriuCommand.Common(criu, "dump.log")],
        criu.Environment,
        criu.RuncOutput.Descriptors,
        newSession: true);

    public FreezerCgroup Gather(CriuSession criu, int root, IReadOnlyList<int> tasks)
    {
        TreeCgroup cgroup = CgroupOf(criu);
        if (!File.Exists(OriginFile(criu)))
        {
            File.WriteAllText(OriginFile(criu), FreezerCgroup.DirectoryOf(root));
        }

        cgroup.Create();
        foreach (int pid in tasks)
        {
            cgroup.Add(pid);
        }

        return tasks.Except(cgroup.Freezer.Processes()).ToArray() is { Length: > 0 } strays
            ? throw new TreeException($"process {string.Join(", ", strays)} cannot be put into the cgroup {cgroup.Freezer.Directory}, so it cannot be held safely")
            : cgroup.Freezer;
    }

    public void Release(CriuSession criu)
    {
        if (File.Exists(OriginFile(criu)))
        {
            string origin = File.ReadAllText(OriginFile(criu));
            CgroupOf(criu).Empty(Directory.Exists(origin) ? origin : null);
        }
    }

    public Task RemoveAsync(CriuSession criu, CancellationToken cancellation)
    {
        CgroupOf(criu).Remove();
        // Where it lived, if it came by a restore.
        TreeCgroup.RemoveUnused();
        return Task.CompletedTask;
    }

    private static TreeCgroup CgroupOf(CriuSession criu) => TreeCgroup.ForFreezing(Path.GetFileName(criu.Directory));

    /// <summary>Names the cgroup that the tree came from.</summary>
    private static string OriginFile(CriuSession criu) => Path.Combine(criu.Directory, "origin");
}
