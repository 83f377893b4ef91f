using PostCopy.Criu;
using PostCopy.Linux;

namespace PostCopy.Runc;

/// <summary>Restores a container through <c>runc restore</c>.</summary>
internal sealed class RuncRestore(string id, string bundle, bool systemdCgroup, string? runcRoot) : IRestoreEngine
{
    /// <summary>There when systemd is the host's init (sd_booted(3)).</summary>
    private const string RunsSystemd = "/run/systemd/system";

    private readonly RuncCommand _runc = new(runcRoot);

    public async Task AddRefusalsAsync(ICollection<string> refusals, CancellationToken cancellation)
    {
        if (await _runc.FindAsync(id, cancellation).ConfigureAwait(false) is { } taken)
        {
            refusals.Add($"a container '{taken.Id}' exists here already ({taken.Status}): remove it, or give the new one another id with --as");
        }

        if (systemdCgroup && !Directory.Exists(RunsSystemd))
        {
            refusals.Add("systemd made the container's cgroup on its source, and this host is not run by systemd: the cgroup's limits could not be kept");
        }
    }

    public ChildProcess Start(CriuSession criu) => _runc.StartRestore(id, bundle, systemdCgroup, criu);

    public async Task<bool> IsRunningAsync(CriuSession criu, CancellationToken cancellation) =>
        await _runc.FindAsync(id, cancellation).ConfigureAwait(false) is { Status: "running" or "paused" };

    public void Freeze(CriuSession criu, int initPid) => (_runc.FreezerOf(id) ?? FreezerCgroup.Of(initPid)).Freeze();

    public async Task RemoveAsync(CriuSession criu, CancellationToken cancellation)
    {
        // A runc that was killed in its restore leaves the bundle's root mounted here, and runc delete removes files without looking through what they
        // are seen: it would empty the bundle.
        MountedTree.Unmount(Path.Combine(runcRoot ?? RuncCommand.DefaultRoot, id));
        await _runc.DeleteAsync(id, cancellation).ConfigureAwait(false);
        ContainerCgroups.RemoveEmpty(id, bundle);
        using NetworkLock networkLock = NetworkLock.At(BundleConfig.TryRead(bundle)?.NetworkPath);
        await networkLock.RemoveAsync(cancellation).ConfigureAwait(false);
    }

    public void Settle(CriuSession criu)
    {
        // runc keeps its containers in their own cgroups.
    }
}
