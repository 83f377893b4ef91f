using System.Globalization;

namespace PostCopy.Linux;

/// <summary>What cgroups allow a process to hold in memory: v1 <c>memory.limit_in_bytes</c> or v2 <c>memory.max</c>, which hold for all cgroups below.</summary>
internal static class MemoryCgroup
{
    /// <summary>The tightest limit on a process, in bytes; null when there is none, or no memory controller.</summary>
    internal static ulong? LimitOf(int pid)
    {
        // hierarchy-id:controllers:path; v2 has id 0 and no controllers (cgroups(7)).
        string[][] lines = [.. File.ReadLines($"/proc/{pid}/cgroup").Select(static line => line.Split(':', 3))];
        string? v1 = lines.FirstOrDefault(static parts => parts[1].Split(',').Contains("memory"))?[2];
        string? v2 = lines.FirstOrDefault(static parts => parts[0] == "0")?[2];
        return (v1, FreezerCgroup.Mounts("cgroup", "memory").FirstOrDefault(), v2, FreezerCgroup.Mounts("cgroup2", null).FirstOrDefault()) switch
        {
            ({ } path, { } mount, _, _) => Tightest(mount, path, "memory.limit_in_bytes"),
            (_, _, { } path, { } mount) => Tightest(mount, path, "memory.max"),
            _ => null,
        };
    }

    internal static ulong? Tightest(string mount, string path, string file)
    {
        ulong? limit = null;
        for (string? at = path; at is not null; at = Path.GetDirectoryName(at))
        {
            string name = Path.Combine(mount + at, file);
            // The root of v2 has none; where there is none, v2 says max, and v1 nearly 2^63.
            if (File.Exists(name) && ulong.TryParse(File.ReadAllText(name), CultureInfo.InvariantCulture, out ulong own) && own < long.MaxValue / 2 && !(own > limit))
            {
                limit = own;
            }
        }

        return limit;
    }
}
