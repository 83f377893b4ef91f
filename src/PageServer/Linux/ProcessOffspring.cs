using System.Globalization;

namespace PostCopy.Linux;

/// <summary>What a process that was started in a session of its own has brought forth, be the process itself dead already.</summary>
internal static class ProcessOffspring
{
    /// <summary>Whether a member of the session that <paramref name="leader"/> began is left, or one that descends from them.</summary>
    internal static bool Exists(ProcessIdentity leader) => Find(leader).Count > 0;

    /// <summary>Kills them, until there are none.</summary>
    internal static void Kill(ProcessIdentity leader)
    {
        for (HashSet<int> living = Find(leader); living.Count > 0; living = Find(leader))
        {
            foreach (int pid in living)
            {
                ProcessSignal.Kill(pid);
            }

            Thread.Sleep(1);
        }
    }

    private static HashSet<int> Find(ProcessIdentity session)
    {
        int leader = session.Pid;
        // A number is not given to another process while a session has it (alloc_pid); if one has it, the session is over.
        if (leader < 2 || (Directory.Exists(string.Create(CultureInfo.InvariantCulture, $"/proc/{leader}")) && !session.Exists))
        {
            return [];
        }

        Dictionary<int, int> parents = [];
        HashSet<int> found = [];
        foreach (string directory in Directory.EnumerateDirectories("/proc"))
        {
            // A zombie is dead.
            if (int.TryParse(Path.GetFileName(directory), CultureInfo.InvariantCulture, out int pid) && pid > 1 && TryRead(pid) is { HasEnded: false } stat)
            {
                parents[pid] = stat.Parent;
                if (pid == leader || stat.Session == leader)
                {
                    found.Add(pid);
                }
            }
        }

        for (int before = 0; before != found.Count;)
        {
            before = found.Count;
            found.UnionWith(parents.Where(entry => found.Contains(entry.Value)).Select(static entry => entry.Key).ToArray());
        }

        return found;
    }

    private static ProcessStat? TryRead(int pid)
    {
        try
        {
            return ProcessStat.Read(pid);
        }
        catch (IOException)
        {
            // It has ended.
            return null;
        }
    }
}
