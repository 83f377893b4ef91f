using PostCopy.Linux;

namespace PostCopy.Trees;

/// <summary>
/// A cgroup for one bare process tree, at the root of the hierarchies: it is frozen without anything else, and no service's end takes the tree along.
/// Below <c>postcopy-trees</c>, where a tree stays once its session has ended.
/// </summary>
internal sealed class TreeCgroup
{
    private const string Parent = "postcopy-trees";

    private readonly string[] _directories;
    private readonly string _name;

    private TreeCgroup(IReadOnlyList<string> mounts, string name)
    {
        _name = name;
        _directories = [.. mounts.Select(mount => Path.Combine(mount, Parent, name))];
    }

    /// <summary>Where tasks are frozen, and where service managers keep their processes.</summary>
    internal static TreeCgroup Named(string name) => new([.. FreezerCgroup.ServiceRoots.Prepend(FreezerCgroup.Root).Distinct()], name);

    internal FreezerCgroup Freezer => FreezerCgroup.At(Path.Combine(FreezerCgroup.Root, Parent, _name));

    /// <summary>Where a process writes its pid to join.</summary>
    internal IEnumerable<string> Doors => _directories.Select(static directory => Path.Combine(directory, "cgroup.procs"));

    internal void Create()
    {
        foreach (string directory in _directories)
        {
            Directory.CreateDirectory(directory);
        }
    }

    /// <summary>Moves who is in it to the parent, and removes it.</summary>
    internal void Leave()
    {
        foreach (string directory in _directories.Where(Directory.Exists))
        {
            string door = Path.Combine(Path.GetDirectoryName(directory)!, "cgroup.procs");
            // Who is forked meanwhile is found by the next look.
            for (int[] pids = Processes(directory); pids.Length > 0; pids = Processes(directory))
            {
                foreach (int pid in pids)
                {
                    MoveTo(door, pid);
                }
            }

            Remove(directory);
        }
    }

    /// <summary>Trees end by themselves, and nobody hears of it: removes the places where some were, if none is left there.</summary>
    internal static void RemoveUnused()
    {
        foreach (string mount in FreezerCgroup.ServiceRoots.Prepend(FreezerCgroup.Root).Distinct())
        {
            RemoveUnused(Path.Combine(mount, Parent));
        }
    }

    /// <summary>Removes it; nobody is in it any more.</summary>
    internal void Remove()
    {
        foreach (string directory in _directories.Where(Directory.Exists))
        {
            Remove(directory);
        }
    }

    private static int[] Processes(string directory) => [.. FreezerCgroup.At(directory).Processes()];

    private static void MoveTo(string door, int pid)
    {
        try
        {
            File.WriteAllText(door, pid.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }
        catch (IOException) when (!Directory.Exists($"/proc/{pid}"))
        {
            // It has ended.
        }
    }

    private static void Remove(string directory)
    {
        Directory.Delete(directory);
        RemoveUnused(Path.GetDirectoryName(directory)!);
    }

    private static void RemoveUnused(string parent)
    {
        try
        {
            Directory.Delete(parent);
        }
        catch (DirectoryNotFoundException)
        {
            // There was none.
        }
        catch (IOException)
        {
            // EBUSY: trees are there, or sessions of some.
        }
    }
}
