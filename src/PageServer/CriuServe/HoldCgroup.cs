using System.Globalization;
using PostCopy.Linux;
using PostCopy.Pages;

namespace PostCopy.CriuServe;

/// <summary>
/// A cgroup of our own around a tree of processes, to freeze just them: theirs may hold anything else, too. They go back where they were when it
/// is left.
/// </summary>
internal sealed class HoldCgroup
{
    private readonly string _directory;
    private readonly List<TaskHome> _homes;

    private HoldCgroup(string directory, IEnumerable<TaskHome> homes)
    {
        _directory = directory;
        _homes = [.. homes];
    }

    internal string Directory => _directory;

    internal IReadOnlyList<TaskHome> Homes => _homes;

    /// <summary>The one that another process has made.</summary>
    internal static HoldCgroup Again(string directory, IReadOnlyList<TaskHome> homes) => new(directory, homes);

    internal static HoldCgroup Around(IReadOnlyList<int> pids, string name)
    {
        (string mount, string path) = PlaceOf(pids[0]);
        HoldCgroup hold = new(Path.Join(mount, path, name), []);
        System.IO.Directory.CreateDirectory(hold._directory);
        foreach (int pid in pids)
        {
            (string home, string own) = PlaceOf(pid);
            hold._homes.Add(new TaskHome(pid, Path.Join(home, own)));
            Enter(hold._directory, pid);
        }

        return hold;
    }

    /// <summary>Moves who still lives back and removes the cgroup.</summary>
    internal void Leave()
    {
        foreach ((int pid, string home) in _homes)
        {
            try
            {
                if (!TaskTree.HasEnded(pid) && PlaceOf(pid) is var place && Path.Join(place.Mount, place.Path) == _directory)
                {
                    Enter(home, pid);
                }
            }
            catch (IOException) when (TaskTree.HasEnded(pid))
            {
                // Between the look and the move.
            }
        }

        System.IO.Directory.Delete(_directory);
    }

    private static void Enter(string cgroup, int pid) => File.WriteAllText(Path.Join(cgroup, "cgroup.procs"), pid.ToString(CultureInfo.InvariantCulture));

    /// <summary>Where a process is in the hierarchy that can freeze it: the v1 freezer if there is one, else v2.</summary>
    private static (string Mount, string Path) PlaceOf(int pid)
    {
        string? v2 = null;
        foreach (string line in File.ReadLines($"/proc/{pid}/cgroup"))
        {
            // hierarchy-id:controllers:path; v2 has id 0 and no controllers.
            string[] parts = line.Split(':', 3);
            if (parts[1].Split(',').Contains("freezer"))
            {
                return (FreezerCgroup.Mount("cgroup", "freezer"), parts[2]);
            }

            v2 = parts[0] == "0" ? parts[2] : v2;
        }

        return v2 is not null ? (FreezerCgroup.Mount("cgroup2", null), v2) : throw new IOException($"pid {pid} is in no cgroup that can be frozen");
    }
}
