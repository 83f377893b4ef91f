using PostCopy.Images.Proto;
using PostCopy.Memory;

namespace PostCopy.Images;

/// <summary>Reads <c>pstree.img</c> and, for each process in it, its core, mm and pagemap images.</summary>
internal sealed class ProcessTreeReader(string directory, ImageLimits limits)
{
    // CRIU's TASK_ numbers (criu/include/pid.h). 6 is a zombie that CRIU found while it was seizing the tree.
    private const uint TaskAlive = 1;
    private const uint TaskDead = 2;
    private const uint TaskStopped = 3;
    private const uint TaskZombie = 6;

    private readonly HashSet<ImagePid> _seen = [];
    private ulong _pages;

    /// <summary>Parents before their children, as CRIU writes them; never empty.</summary>
    public List<ImageProcess> Read()
    {
        using ImageFile file = ImageFile.Open(Path.Join(directory, "pstree.img"), ImageMagic.Pstree, limits.MaxPstreeEntryBytes);
        List<ImageProcess> processes = [];
        while (file.ReadMessage(ImageParsers.Pstree) is { } entry)
        {
            if (processes.Count == limits.MaxProcesses)
            {
                throw file.Malformed($"more processes than the limit of {limits.MaxProcesses}");
            }

            processes.Add(ReadProcess(file, entry));
        }

        return processes.Count > 0 ? processes : throw file.Malformed("no process in it");
    }

    private ImageProcess ReadProcess(ImageFile file, PstreeEntry entry)
    {
        var pid = new ImagePid(CheckedPid(file, "pid", entry.Pid));
        if (pid.Value == 0)
        {
            throw file.Malformed("pid is missing or 0");
        }

        ImagePid? parent = CheckParent(file, pid, entry);
        if (!_seen.Add(pid))
        {
            throw file.Malformed($"pid {pid} is listed twice");
        }

        (ImageTaskState state, string command) = ReadCore(pid);
        bool live = state != ImageTaskState.Zombie;
        if (live && (entry.Threads.Count < 1 || entry.Threads.Count > limits.MaxThreadsPerProcess))
        {
            throw file.Malformed($"pid {pid} has {entry.Threads.Count} threads, not between 1 and the limit of {limits.MaxThreadsPerProcess}");
        }

        PagemapImage? pagemap = live ? ReadPagemap(pid) : null;
        return new ImageProcess
        {
            Pid = pid,
            ParentPid = parent,
            ProcessGroup = CheckedPid(file, "pgid", entry.Pgid),
            Session = CheckedPid(file, "sid", entry.Sid),
            // CRIU writes an uninitialised thread id for a zombie; its count means nothing either.
            ThreadCount = live ? entry.Threads.Count : 1,
            State = state,
            Command = command,
            Vmas = live ? MmImage.Read(Path.Join(directory, $"mm-{pid}.img"), limits) : [],
            Pagemap = pagemap?.Runs ?? [],
            PagesId = pagemap?.PagesId,
        };
    }

    private PagemapImage ReadPagemap(ImagePid pid)
    {
        string path = Path.Join(directory, $"pagemap-{pid}.img");
        PagemapImage pagemap = PagemapImage.Read(path, limits);
        _pages += pagemap.PageCount;
        return _pages <= limits.MaxPagesInAll ? pagemap : throw new ImageFormatException(path, $"more pages in all than the limit of {limits.MaxPagesInAll}");
    }

    private ImagePid? CheckParent(ImageFile file, ImagePid pid, PstreeEntry entry)
    {
        if (_seen.Count == 0)
        {
            return entry.Ppid == 0 ? null : throw file.Malformed($"the first process, pid {pid}, has a parent, ppid {entry.Ppid}");
        }

        var parent = new ImagePid(CheckedPid(file, "ppid", entry.Ppid));
        if (!_seen.Contains(parent))
        {
            throw file.Malformed($"ppid {parent} of pid {pid} is not a process listed before it");
        }

        return parent;
    }

    private int CheckedPid(ImageFile file, string field, uint value) =>
        value <= (uint)limits.MaxPid ? (int)value : throw file.Malformed($"{field} {value} is above the limit of {limits.MaxPid}");

    private (ImageTaskState State, string Command) ReadCore(ImagePid pid)
    {
        using ImageFile file = ImageFile.Open(Path.Join(directory, $"core-{pid}.img"), ImageMagic.Core, limits.MaxCoreEntryBytes);
        TaskCoreEntry task = file.ReadFirst(ImageParsers.Core).Tc ?? throw file.Malformed("tc is missing");
        if (task.Comm.Length > limits.MaxCommandBytes)
        {
            throw file.Malformed($"comm has {task.Comm.Length} bytes, more than the limit of {limits.MaxCommandBytes}");
        }

        ImageTaskState state = task.TaskState switch
        {
            TaskAlive => ImageTaskState.Alive,
            TaskStopped => ImageTaskState.Stopped,
            TaskDead or TaskZombie => ImageTaskState.Zombie,
            _ => throw file.Malformed($"task_state {task.TaskState} is unknown"),
        };
        return (state, WithoutControlCharacters(task.Comm.ToStringUtf8()));
    }

    // A process chooses its own name; it must not get to steer the terminal of whoever looks at its images.
    private static string WithoutControlCharacters(string text) =>
        string.Create(text.Length, text, static (result, source) =>
        {
            for (int i = 0; i < result.Length; i++)
            {
                result[i] = char.IsControl(source[i]) ? '?' : source[i];
            }
        });
}
