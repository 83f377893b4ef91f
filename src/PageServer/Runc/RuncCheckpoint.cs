using PostCopy.Criu;
using PostCopy.Linux;

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
        return container.Status == "running"
            ? new CheckpointTarget(container.InitPid, container.Id, container.Bundle, [])
            : throw new RuncException($"the container '{container.Id}' is {container.Status}: only a running one can be moved{(container.Status == "paused" ? " (runc resume it first)" : "")}");
    }

    public FreezerCgroup? FrozenByCriu() => _runc.FreezerOf(id);

    public ChildProcess Start(CriuSession criu) => _runc.StartCheckpoint(id, criu);

    public FreezerCgroup Gather(CriuSession criu, int rootPid, IReadOnlyList<int> tasks)
    {
        FreezerCgroup freezer = FreezerCgroup.Of(rootPid);
        return tasks.Except(freezer.Processes()).ToArray() is { Length: > 0 } strays
            ? throw new RuncException($"pid {string.Join(", ", strays)} of the container has left the container's cgroup {freezer.Directory}, so it cannot be held safely")
            : freezer;
    }

    public void Release(CriuSession criu)
    {
        // The cgroup is the container's own.
    }

    public Task RemoveAsync(CriuSession criu, CancellationToken cancellation) => _runc.DeleteAsync(id, cancellation);
}
