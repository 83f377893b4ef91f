using System.Globalization;

namespace PostCopy.Linux;

/// <summary>The cgroup that holds a container, as its freezer: cgroup v1 <c>freezer.state</c> or v2 <c>cgroup.freeze</c> (cgroups(7)).</summary>
/// <remarks>A task that is frozen here stays so when a tracer that held it dies. SIGKILL takes effect at the thaw in v1, at once in v2.</remarks>
internal sealed class FreezerCgroup
{
    private readonly string _directory;
    private readonly bool _isV2;

    private FreezerCgroup(string directory, bool isV2)
    {
        _directory = directory;
        _isV2 = isV2;
    }

    /// <summary>Where the cgroup is mounted.</summary>
    internal string Directory => _directory;

    /// <summary>The freezer of the cgroup that a process is in. Throws <see cref="IOException"/> when there is none that could be frozen.</summary>
    internal static FreezerCgroup Of(int pid)
    {
        string? v2 = null;
        foreach (string line in File.ReadLines($"/proc/{pid}/cgroup"))
        {
            // hierarchy-id:controllers:path; v2 has id 0 and no controllers.
            string[] parts = line.Split(':', 3);
            // Never the root of a hierarchy: that is the whole host.
            if (parts[1].Split(',').Contains("freezer") && parts[2] != "/")
            {
                return new FreezerCgroup(Mount("cgroup", "freezer") + parts[2], isV2: false);
            }

            if (parts[0] == "0")
            {
                v2 = parts[2];
            }
        }

        if (v2 is null or "/")
        {
            throw new IOException($"pid {pid} is in no cgroup that can be frozen: neither cgroup v2 nor the v1 freezer holds it");
        }

        return new FreezerCgroup(Mount("cgroup2", null) + v2, isV2: true);
    }

    /// <summary>Freezes every task in the cgroup and below. Returns once no task can reach user mode any more.</summary>
    internal void Freeze() => Write(frozen: true);

    /// <summary>Lets the tasks go on.</summary>
    internal void Thaw() => Write(frozen: false);

    /// <summary>Every process in the cgroup and in those below it.</summary>
    internal IReadOnlyList<int> Processes()
    {
        List<int> pids = [];
        foreach (string file in System.IO.Directory.EnumerateFiles(_directory, "cgroup.procs", SearchOption.AllDirectories))
        {
            pids.AddRange(File.ReadLines(file).Select(static line => int.Parse(line, CultureInfo.InvariantCulture)).Where(static pid => pid > 0));
        }

        return pids;
    }

    private void Write(bool frozen)
    {
        // The kernel marks every task before the write returns; a marked task freezes on its way to user mode at the latest.
        (string file, string value) = _isV2 ? ("cgroup.freeze", frozen ? "1" : "0") : ("freezer.state", frozen ? "FROZEN" : "THAWED");
        File.WriteAllText(Path.Combine(_directory, file), value);
    }

    internal static string Mount(string type, string? controller)
    {
        foreach (string line in File.ReadLines("/proc/self/mountinfo"))
        {
            // ... mount-point options - type source super-options
            int separator = line.IndexOf(" - ", StringComparison.Ordinal);
            string[] rear = line[(separator + 3)..].Split(' ');
            string[] front = line[..separator].Split(' ');
            if (rear[0] == type && front[3] == "/" && (controller is null || rear[2].Split(',').Contains(controller)))
            {
                return front[4];
            }
        }

        throw new IOException($"no {type} hierarchy{(controller is null ? "" : $" with the {controller} controller")} is mounted");
    }
}
