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
            if (int.TryParse(Path.GetFileName(directory), CultureInfo.InvariantCulture, out int pid) && pid > 1 && TryRead(directory, out string[] fields))
            {
                // proc_pid_stat(5) behind the name: state ppid pgrp session ... A zombie is dead.
                if (fields[0] is not ("Z" or "X"))
                {
                    parents[pid] = int.Parse(fields[1], CultureInfo.InvariantCulture);
                    if (pid == leader || int.Parse(fields[3], CultureInfo.InvariantCulture) == leader)
                    {
                        found.Add(pid);
                    }
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

    private static bool TryRead(string directory, out string[] fields)
    {
        try
        {
            string stat = File.ReadAllText(directory + "/stat");
            fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return true;
        }
        catch (IOException)
        {
            // It has ended.
            fields = [];
            return false;
        }
    }
}
