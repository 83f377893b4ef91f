using System.Text.Json;

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
        foreach (string mount in Mounts())
        {
            foreach (string directory in paths.Select(path => mount + path).Where(Directory.Exists))
            {
                Remove(directory);
            }
        }
    }

    private static string? ConfiguredPath(string bundle)
    {
        try
        {
            using JsonDocument config = JsonDocument.Parse(File.ReadAllText(Path.Combine(bundle, "config.json")));
            return config.RootElement.TryGetProperty("linux", out JsonElement linux) && linux.TryGetProperty("cgroupsPath", out JsonElement path)
                && path.GetString() is ['/', _, ..] absolute && !absolute.Contains("..", StringComparison.Ordinal) ? absolute : null;
        }
        catch (Exception e) when (e is IOException or JsonException or InvalidOperationException)
        {
            // Without a readable configuration nothing was built by it.
            return null;
        }
    }

    private static IEnumerable<string> Mounts() =>
        from line in File.ReadLines("/proc/self/mountinfo")
        let separator = line.IndexOf(" - ", StringComparison.Ordinal)
        where line[(separator + 3)..].Split(' ')[0] is "cgroup" or "cgroup2"
        select line.Split(' ')[4];

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
