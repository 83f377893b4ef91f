using System.Globalization;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Pages;

/// <summary>Finds the processes of a tree and the pid that CRIU's images call each of them by.</summary>
internal static class TaskTree
{
    /// <summary>
    /// Walks <c>/proc/PID/task/*/children</c> from <paramref name="rootPid"/> and maps the innermost pid of every process (the last number of
    /// <c>NSpid</c>, proc(5)) to the pid that we can use. Zombies are left out: they have no memory, belong to no cgroup and never run again.
    /// Of a tree that is not frozen, a process that ends meanwhile is left out as well.
    /// </summary>
    internal static Dictionary<ImagePid, int> Map(int rootPid)
    {
        Dictionary<ImagePid, int> hostPids = [];
        Stack<int> pending = new([rootPid]);
        while (pending.TryPop(out int pid))
        {
            try
            {
                string[] status = File.ReadAllLines(StatusOf(pid));
                if (IsZombie(pid, status))
                {
                    continue;
                }

                List<int> children = Children(pid);
                hostPids[new ImagePid(Number(pid, status, "NSpid:"))] = pid;
                children.ForEach(pending.Push);
            }
            catch (IOException) when (pid != rootPid && HasEnded(pid))
            {
                // Children it had go to a parent above it; of a frozen tree nobody ends.
            }
        }

        return hostPids;
    }

    /// <summary>
    /// The second freeze of tasks that CRIU holds: it holds them when CRIU is killed. Returns one that nobody traces, null when there is none: CRIU was dead already then, so it
    /// has run on since the dump, and the images are of the past.
    /// </summary>
    internal static int? FreezeAgain(FreezerCgroup freezer, IEnumerable<int> tasks)
    {
        freezer.Freeze();
        return tasks.Select(static pid => (int?)pid).FirstOrDefault(static pid => TracerOf(pid!.Value) == 0);
    }

    /// <summary>The process that traces this one; 0 when nobody does.</summary>
    internal static int TracerOf(int pid) => Number(pid, File.ReadAllLines(StatusOf(pid)), "TracerPid:");

    private static string StatusOf(int pid) => $"/proc/{pid}/status";

    /// <summary>
    /// Also a zombie has, and who is about to become one: it has a number, and neither memory nor namespaces. A first thread that has ended while others go on
    /// looks the same, but for their number.
    /// </summary>
    internal static bool HasEnded(int pid)
    {
        try
        {
            ProcessStat stat = ProcessStat.Read(pid);
            return (stat.IsExiting || stat.HasEnded) && stat.Threads <= 1;
        }
        catch (IOException)
        {
            return true;
        }
    }

    private static List<int> Children(int pid)
    {
        List<int> children = [];
        foreach (string thread in Directory.EnumerateDirectories($"/proc/{pid}/task"))
        {
            string path = $"{thread}/children";
            try
            {
                children.AddRange(File.ReadAllText(path).Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(static child => int.Parse(child, CultureInfo.InvariantCulture)));
            }
            catch (IOException) when (!File.Exists(path))
            {
                // The thread has ended: its children are another thread's now, or were counted with one.
            }
        }

        return children;
    }

    /// <summary>A first thread that has ended while others go on is shown as a zombie, too.</summary>
    private static bool IsZombie(int pid, string[] status) => Field(pid, status, "State:").TrimStart() is ['Z' or 'X', ..] && Number(pid, status, "Threads:") <= 1;

    /// <summary>The last number of a line, which for NSpid is the innermost.</summary>
    private static int Number(int pid, string[] status, string field)
    {
        string value = Field(pid, status, field);
        return int.Parse(value.AsSpan(value.LastIndexOf('\t') + 1), CultureInfo.InvariantCulture);
    }

    private static string Field(int pid, string[] status, string field) =>
        status.FirstOrDefault(line => line.StartsWith(field, StringComparison.Ordinal)) is { } line
            ? line[field.Length..]
            : throw new PageSourceException($"{StatusOf(pid)} has no line {field}");
}
