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

    internal bool IsV2 => _isV2;

    /// <summary>The file that freezes and thaws, and the words for both.</summary>
    internal (string File, string Frozen, string Thawed) Switch =>
        _isV2 ? (Path.Combine(_directory, "cgroup.freeze"), "1", "0") : (Path.Combine(_directory, "freezer.state"), "FROZEN", "THAWED");

    /// <summary>The file that says whether every task is frozen, and the words in which it does.</summary>
    internal (string File, string Frozen) Report =>
        _isV2 ? (Path.Combine(_directory, "cgroup.events"), "frozen 1") : (Path.Combine(_directory, "freezer.state"), "FROZEN");

    /// <summary>The cgroup that this process is in, in the same hierarchy: where a process is put that must not be frozen.</summary>
    internal string OwnDirectory
    {
        get
        {
            string path = PathsOf("self").First(cgroup => cgroup.IsV2 == _isV2).Path;
            return Mount(_isV2) + path;
        }
    }

    /// <summary>The freezer of the cgroup that a process is in. Throws <see cref="IOException"/> when there is none that could be frozen.</summary>
    internal static FreezerCgroup Of(int pid) =>
        TryOf(pid) ?? throw new IOException($"pid {pid} is in no cgroup that can be frozen: neither cgroup v2 nor the v1 freezer holds it");

    /// <summary>The same; null when there is none.</summary>
    internal static FreezerCgroup? TryOf(int pid)
    {
        // Never the root of a hierarchy: that is the whole host.
        (string? path, bool isV2) = PathsOf(pid.ToString(CultureInfo.InvariantCulture)).FirstOrDefault(static cgroup => cgroup.Path != "/");
        return path is null ? null : new FreezerCgroup(Mount(isV2) + path, isV2);
    }

    /// <summary>
    /// The freezer that holds a whole tree, its first process and the others: those of a container may have made cgroups below their own and gone there. The first
    /// process's own when none holds all of them; null when it is in none.
    /// </summary>
    internal static FreezerCgroup? TryAround(int pid, IEnumerable<int> tree)
    {
        FreezerCgroup? own = TryOf(pid);
        HashSet<int> all = [.. tree];
        for (FreezerCgroup? at = own; at is not null; at = at.Parent)
        {
            if (all.IsSubsetOf(at.Processes()))
            {
                return at;
            }
        }

        return own;
    }

    /// <summary>Null when that is the root of the hierarchy.</summary>
    private FreezerCgroup? Parent => Path.GetDirectoryName(_directory) is { } parent && parent.Length > Mount(_isV2).Length ? new FreezerCgroup(parent, _isV2) : null;

    /// <summary>A cgroup by its directory.</summary>
    internal static FreezerCgroup At(string directory) => new(directory, isV2: !File.Exists(Path.Combine(directory, "freezer.state")));

    /// <summary>The cgroup whose freezing file a file names in its first line; null when it is gone, or the file is.</summary>
    internal static FreezerCgroup? NamedIn(string path)
    {
        string? directory = File.Exists(path) ? Path.GetDirectoryName(File.ReadLines(path).FirstOrDefault()) : null;
        return System.IO.Directory.Exists(directory) ? At(directory) : null;
    }

    /// <summary>The top of the hierarchy that freezes on this host.</summary>
    internal static string Root => Mount(PlaceOf("self").IsV2);

    /// <summary>The tops of the hierarchies in which service managers keep track of their processes: v2, and v1's named one.</summary>
    internal static IReadOnlyList<string> ServiceRoots => [.. Mounts("cgroup2", null), .. Mounts("cgroup", "name=systemd")];

    /// <summary>Where a process is in that hierarchy, be it the root.</summary>
    internal static string DirectoryOf(int pid) => Root + PlaceOf(pid.ToString(CultureInfo.InvariantCulture)).Path;

    /// <summary>Freezes every task in the cgroup and below. Returns once no task can reach user mode any more.</summary>
    internal void Freeze() => Write(frozen: true);

    /// <summary>Whether <see cref="Freeze"/> came last, whoever called it. False when the cgroup is gone.</summary>
    internal bool IsFrozen
    {
        get
        {
            (string file, _, string thawed) = Switch;
            try
            {
                // On the way to it (v1: FREEZING) no task reaches user mode either.
                return File.ReadAllText(file).Trim() != thawed;
            }
            catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
            {
                return false;
            }
        }
    }

    /// <summary>Kills every process in it, and lets them go on to die.</summary>
    internal void KillAll()
    {
        foreach (int pid in Processes())
        {
            ProcessSignal.Kill(pid);
        }

        Thaw();
    }

    /// <summary>The same, again and again until nothing is left in it.</summary>
    internal async Task KillAllAsync(CancellationToken cancellation)
    {
        while (Processes().Count > 0)
        {
            KillAll();
            await Task.Delay(TimeSpan.FromMilliseconds(1), cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Lets the tasks go on, if there are any: a cgroup that is gone holds none.</summary>
    internal void Thaw()
    {
        if (System.IO.Directory.Exists(_directory))
        {
            Write(frozen: false);
        }
    }

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
        (string file, string onValue, string offValue) = Switch;
        File.WriteAllText(file, frozen ? onValue : offValue);
    }

    /// <summary>
    /// Where a process is in the hierarchies that can freeze: the v1 freezer first, since container managers use it where it is mounted. Where only v2 is mounted,
    /// the kernel may know v1 hierarchies all the same.
    /// </summary>
    private static IEnumerable<(string Path, bool IsV2)> PathsOf(string pid)
    {
        // hierarchy-id:controllers:path; v2 has id 0 and no controllers.
        string[][] lines = [.. File.ReadLines($"/proc/{pid}/cgroup").Select(static line => line.Split(':', 3))];
        return lines.Where(static parts => parts[1].Split(',').Contains("freezer") && Mounts("cgroup", "freezer").Any()).Select(static parts => (parts[2], false))
            .Concat(lines.Where(static parts => parts[0] == "0").Select(static parts => (parts[2], true)));
    }

    private static (string Path, bool IsV2) PlaceOf(string pid) =>
        PathsOf(pid).Cast<(string, bool)?>().FirstOrDefault() ?? throw new IOException($"process {pid} is in no cgroup that can be frozen: neither cgroup v2 nor the v1 freezer is mounted");

    private static string Mount(bool isV2) => isV2 ? Mount("cgroup2", null) : Mount("cgroup", "freezer");

    internal static string Mount(string type, string? controller) =>
        Mounts(type, controller).FirstOrDefault() ?? throw new IOException($"no {type} hierarchy{(controller is null ? "" : $" with the {controller} controller")} is mounted");

    internal static IEnumerable<string> Mounts(string type, string? controller) =>
        MountEntry.All().Where(mount => mount.Type == type && mount.Root == "/" && (controller is null || mount.Options.Contains(controller))).Select(static mount => mount.Point);
}
