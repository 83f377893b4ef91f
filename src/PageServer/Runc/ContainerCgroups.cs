using PostCopy.Linux;

namespace PostCopy.Runc;

/// <summary>The cgroups of a container that runc does not know any more, or never knew: it, or CRIU, was killed before it could remove them.</summary>
internal static class ContainerCgroups
{
    /// <summary>
    /// Removes those that are there. Only what is empty can be removed, so nobody who runs is touched; a container with this id was not there when its
    /// restore began.
    /// </summary>
    internal static void RemoveEmpty(string id, string bundle)
    {
        string[] owns = [.. File.ReadLines("/proc/self/cgroup").Select(static line => line.Split(':', 3)[2]).Append("/").Distinct()];
        // Without a path in config.json runc takes the id, below its own cgroup; CRIU takes what was at the source (libcontainer/cgroups/fs, criu/cgroup.c).
        string[] paths = [.. owns.Select(own => Path.Combine(own, id)), .. ConfiguredPath(bundle) is { } configured ? (string[])[configured] : []];
        foreach (string mount in MountEntry.All().Where(static mount => mount.Type is "cgroup" or "cgroup2").Select(static mount => mount.Point).ToArray())
        {
            foreach (string directory in paths.Select(path => mount + path).Where(Directory.Exists))
            {
                Remove(directory);
            }
        }
    }

    private static string? ConfiguredPath(string bundle) =>
        BundleConfig.TryRead(bundle)?.CgroupsPath is ['/', _, ..] absolute && !absolute.Contains("..", StringComparison.Ordinal) ? absolute : null;

    private static void Remove(string directory)
    {
        try
        {
            foreach (string below in Directory.GetDirectories(directory))
            {
                Remove(below);
            }

            Directory.Delete(directory);
        }
        catch (IOException)
        {
            // EBUSY: somebody is in it, so it is not what was left.
        }
    }
}
