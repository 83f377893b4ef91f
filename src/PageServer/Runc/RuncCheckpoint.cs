using PostCopy.Criu;
using PostCopy.Linux;
using PostCopy.Pages;

namespace PostCopy.Runc;

/// <summary>Dumps a container through <c>runc checkpoint</c>.</summary>
internal sealed class RuncCheckpoint(string id, string? runcRoot) : ICheckpointEngine
{
    private readonly RuncCommand _runc = new(runcRoot);

    public string Subject => $"container '{id}'";

    /// <summary>Where the container's standard streams lead: libcontainer writes that beside the images, and reads it again before it starts CRIU.</summary>
    public IReadOnlyDictionary<string, byte[]>? EarlyImages() =>
        _runc.StandardStreamsOf(id) is { } json ? new Dictionary<string, byte[]> { ["descriptors.json"] = json } : null;

    public async Task<CheckpointTarget> FindAsync(CancellationToken cancellation)
    {
        RuncContainer container = await _runc.FindAsync(id, cancellation).ConfigureAwait(false)
            ?? throw new RuncException($"runc knows no container '{id}' on this host{(runcRoot is null ? " (is its state below another directory? name it with --runc-root)" : "")}");
        if (container.Status != "running")
        {
            throw new RuncException($"the container '{container.Id}' is {container.Status}: only a running one can be moved{(container.Status == "paused" ? " (runc resume it first)" : "")}");
        }

        FreezerCgroup freezer = FreezerOf(container.InitPid);
        // A process that is forked or adopted between two looks is found by one of them.
        Refuse(StrangersIn(freezer, TaskTree.Map(container.InitPid).Values).Intersect(StrangersIn(freezer, TaskTree.Map(container.InitPid).Values)), freezer);
        return new CheckpointTarget(container.InitPid, container.Id, container.Bundle, [], _runc.IsOfSystemd(id));
    }

    public FreezerCgroup? FrozenByCriu() => _runc.FreezerOf(id);

    public ChildProcess Start(CriuSession criu) => _runc.StartCheckpoint(id, criu);

    public FreezerCgroup Gather(CriuSession criu, int rootPid, IReadOnlyList<int> tasks)
    {
        FreezerCgroup freezer = FreezerOf(rootPid);
        Refuse(StrangersIn(freezer, tasks), freezer);
        return tasks.Except(freezer.Processes()).ToArray() is { Length: > 0 } strays
            ? throw new RuncException($"pid {string.Join(", ", strays)} of the container has left the container's cgroup {freezer.Directory}, so it cannot be held safely")
            : freezer;
    }

    /// <summary>A container's own: its processes may have made others below it.</summary>
    private FreezerCgroup FreezerOf(int initPid) => FrozenByCriu() ?? FreezerCgroup.Of(initPid);

    /// <summary>
    /// Everybody in the container's cgroup is frozen with it and killed once it has moved, but CRIU takes along only init and those below it. What <c>runc exec</c>
    /// started is in the cgroup and somebody else's child.
    /// </summary>
    private void Refuse(IEnumerable<int> strangers, FreezerCgroup freezer)
    {
        if (strangers.ToArray() is { Length: > 0 } pids)
        {
            throw new RuncException(
                $"pid {string.Join(", ", pids)} in the cgroup {freezer.Directory} of container '{id}' is no child of the container's first process (started by runc exec, or of another container with the same cgroup): CRIU would not take it along, and it would end here. End it first");
        }
    }

    private static IEnumerable<int> StrangersIn(FreezerCgroup freezer, IEnumerable<int> tree) => freezer.Processes().Except(tree).Where(static pid => !TaskTree.HasEnded(pid));

    /// <inheritdoc/>
    /// <remarks>The others are in a pid namespace with the first.</remarks>
    public FreezerCgroup? Gathered(CriuSession criu) => null;

    public void Release(CriuSession criu)
    {
        // The cgroup is the container's own.
    }

    public Task RemoveAsync(CriuSession criu, CancellationToken cancellation) => _runc.DeleteAsync(id, cancellation);
}
