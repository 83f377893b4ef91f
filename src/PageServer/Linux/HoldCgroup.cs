using System.Globalization;

namespace PostCopy.Linux;

/// <summary>
/// A cgroup of our own around a tree of processes, to freeze just them: theirs may hold anything else, too. Below the one that the first is in, so that this stays
/// in use, and its limits go on to hold, where one hierarchy is all there is (cgroup v2). They go back where they were when it is left.
/// </summary>
internal sealed class HoldCgroup
{
    private HoldCgroup(string directory, IReadOnlyList<TaskHome> homes)
    {
        Directory = directory;
        Homes = homes;
    }

    internal string Directory { get; }

    /// <summary>Of whom it was made for; what they fork belongs where the first is from.</summary>
    internal IReadOnlyList<TaskHome> Homes { get; }

    internal FreezerCgroup Freezer => FreezerCgroup.At(Directory);

    /// <summary>The one that another process has made.</summary>
    internal static HoldCgroup Again(string directory, IReadOnlyList<TaskHome> homes) => new(directory, homes);

    /// <summary>What <see cref="Enter"/> is going to do, so that it can be written down before.</summary>
    internal static HoldCgroup Plan(IReadOnlyList<int> pids, string name) =>
        new(Path.Join(FreezerCgroup.DirectoryOf(pids[0]), name), [.. pids.Select(static pid => new TaskHome(pid, FreezerCgroup.DirectoryOf(pid)))]);

    /// <summary>Made, and everybody in it.</summary>
    internal static HoldCgroup Around(IReadOnlyList<int> pids, string name)
    {
        HoldCgroup hold = Plan(pids, name);
        try
        {
            hold.Enter();
        }
        catch (IOException)
        {
            hold.Leave();
            throw;
        }

        return hold;
    }

    /// <summary>Makes it and moves everybody into it.</summary>
    internal void Enter()
    {
        System.IO.Directory.CreateDirectory(Directory);
        foreach ((int pid, _) in Homes)
        {
            Move(pid, Directory);
        }
    }

    /// <summary>Moves who is in it back, and removes it.</summary>
    internal void Leave()
    {
        if (!System.IO.Directory.Exists(Directory))
        {
            return;
        }

        Dictionary<int, string> homes = Homes.ToDictionary(static home => home.Pid, static home => home.Cgroup);
        string parent = Path.GetDirectoryName(Directory)!;
        // Who is forked meanwhile is found by the next look.
        for (IReadOnlyList<int> pids = Freezer.Processes(); pids.Count > 0; pids = Freezer.Processes())
        {
            foreach (int pid in pids)
            {
                // A cgroup that was left empty may have been removed by who manages it.
                Move(pid, homes.TryGetValue(pid, out string? home) && System.IO.Directory.Exists(home) ? home : parent);
            }
        }

        System.IO.Directory.Delete(Directory);
    }

    private static void Move(int pid, string cgroup)
    {
        try
        {
            File.WriteAllText(Path.Join(cgroup, "cgroup.procs"), pid.ToString(CultureInfo.InvariantCulture));
        }
        catch (IOException) when (!System.IO.Directory.Exists($"/proc/{pid}"))
        {
            // It has ended.
        }
    }
}

/// <summary>A task and the cgroup it came from.</summary>
internal readonly record struct TaskHome(int Pid, string Cgroup);
