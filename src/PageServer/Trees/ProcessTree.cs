using System.Globalization;
using PostCopy.Linux;
using PostCopy.Pages;

namespace PostCopy.Trees;

/// <summary>A bare process and its descendants, and whether they can be moved.</summary>
internal static class ProcessTree
{
    // Not the time namespace: CRIU gives one to every tree that it restores, so that the monotonic clock goes on (time_namespaces(7)).
    private static readonly string[] Namespaces = ["mnt", "pid", "net", "uts", "ipc", "user", "cgroup"];

    /// <summary>
    /// Every number that the tree needs on the destination: its processes, their threads, groups and sessions. Throws <see cref="TreeException"/> when the
    /// tree is tied to something outside of it.
    /// </summary>
    internal static IReadOnlyList<int> Inspect(int rootPid)
    {
        if (!Directory.Exists($"/proc/{rootPid}"))
        {
            throw new TreeException($"there is no process {rootPid} on this host");
        }

        if (rootPid == 1 || rootPid == Environment.ProcessId)
        {
            throw new TreeException($"process {rootPid} is {(rootPid == 1 ? "this host's init" : "postcopy itself")}");
        }

        int[] tree = [.. TaskTree.Map(rootPid).Values];
        HashSet<int> numbers = [.. tree];
        foreach (int pid in tree)
        {
            try
            {
                RefuseOtherNamespaces(pid);
                Inspect(pid, tree, numbers);
            }
            catch (IOException e) when (e is not TreeException && pid != rootPid && TaskTree.HasEnded(pid))
            {
                // Nothing ties it to anything any more.
            }
        }

        return [.. numbers];
    }

    private static void Inspect(int pid, int[] tree, HashSet<int> numbers)
    {
        ProcessStat stat = ProcessStat.Read(pid);
        foreach (string thread in Directory.EnumerateDirectories($"/proc/{pid}/task"))
        {
            numbers.Add(int.Parse(Path.GetFileName(thread), CultureInfo.InvariantCulture));
        }

        if (stat.Terminal != 0)
        {
            throw new TreeException($"process {pid} has a controlling terminal, which does not move: start the program with setsid and without the terminal (</dev/null >FILE 2>&1)");
        }

        foreach ((string what, int leader) in (ReadOnlySpan<(string, int)>)[("session", stat.Session), ("process group", stat.Group)])
        {
            if (!tree.Contains(leader))
            {
                throw new TreeException($"process {pid} is in {what} {leader}, whose leader is not in the tree of the process to be moved: start the program with setsid, or move the leader");
            }
        }
    }

    private static void RefuseOtherNamespaces(int pid)
    {
        foreach (string name in Namespaces)
        {
            if (ProcessNamespace.Of(pid, name) is { } its && its != ProcessNamespace.Ours(name))
            {
                throw new TreeException($"process {pid} has a {name} namespace of its own: it belongs to a container; containers are moved by what manages them (postcopy migrate runc)");
            }
        }
    }
}

/// <summary>A process tree cannot be moved; the message is for the user.</summary>
internal sealed class TreeException(string message) : IOException(message);
