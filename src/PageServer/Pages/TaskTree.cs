using System.Globalization;
using PostCopy.Memory;

namespace PostCopy.Pages;

/// <summary>Finds the processes of a frozen tree and the pid that CRIU's images call each of them by.</summary>
internal static class TaskTree
{
    /// <summary>
    /// Walks <c>/proc/PID/task/*/children</c> from <paramref name="rootPid"/> and maps the innermost pid of every process (the last number of
    /// <c>NSpid</c>, proc(5)) to the pid that we can use.
    /// </summary>
    internal static Dictionary<ImagePid, int> Map(int rootPid)
    {
        Dictionary<ImagePid, int> hostPids = [];
        Stack<int> pending = new([rootPid]);
        while (pending.TryPop(out int pid))
        {
            hostPids[new ImagePid(InnermostPid(pid))] = pid;
            foreach (int child in Children(pid))
            {
                pending.Push(child);
            }
        }

        return hostPids;
    }

    private static IEnumerable<int> Children(int pid)
    {
        foreach (string thread in Directory.EnumerateDirectories($"/proc/{pid}/task"))
        {
            foreach (string child in File.ReadAllText($"{thread}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries))
            {
                yield return int.Parse(child, CultureInfo.InvariantCulture);
            }
        }
    }

    /// <summary>The pid of the process that traces this one; 0 when nobody does.</summary>
    internal static int TracerOf(int pid) => LastNumber(pid, "TracerPid:");

    private static int InnermostPid(int pid) => LastNumber(pid, "NSpid:");

    private static int LastNumber(int pid, string field)
    {
        foreach (string line in File.ReadLines($"/proc/{pid}/status"))
        {
            if (line.StartsWith(field, StringComparison.Ordinal))
            {
                return int.Parse(line.AsSpan(line.LastIndexOf('\t') + 1), CultureInfo.InvariantCulture);
            }
        }

        throw new PageSourceException($"/proc/{pid}/status has no line {field}");
    }
}
