using System.Globalization;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Pages;

namespace PostCopy.Tracking;

/// <summary>Watches the writes of a whole process tree that runs: processes and mappings come and go between looks.</summary>
/// <remarks>Not thread-safe. Disposing ends the watch and leaves nothing in the processes.</remarks>
internal sealed class DirtyTracker : IDisposable
{
    private readonly int _rootPid;
    private readonly InjectorProcess _injector;
    private readonly string _record;
    private readonly bool _earlierOneDied;
    private readonly Dictionary<ImagePid, TrackedProcess> _tracked = [];
    private readonly HashSet<ProcessIdentity> _refused = [];
    private readonly List<string> _reasons = [];

    /// <param name="rootPid">The root of the tree.</param>
    /// <param name="injectorProgram">The program that is started with the argument <c>tracker-inject</c>.</param>
    /// <param name="stateDirectory">Where it is noted that a watch is on, so that what is left after a sudden death is found.</param>
    internal DirtyTracker(int rootPid, string injectorProgram, string stateDirectory)
    {
        _rootPid = rootPid;
        _injector = new InjectorProcess(injectorProgram);
        ProcessIdentity root = ProcessIdentity.Of(rootPid);
        string directory = Path.Combine(stateDirectory, "tracking");
        Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _record = Path.Combine(directory, string.Create(CultureInfo.InvariantCulture, $"{root.Pid}-{root.StartTicks}"));
        _earlierOneDied = File.Exists(_record);
        File.WriteAllBytes(_record, []);
    }

    /// <summary>Why processes, or mappings, are not watched; each reason once.</summary>
    internal IReadOnlyList<string> Reasons => _reasons;

    /// <summary>The processes that are watched.</summary>
    internal IReadOnlyCollection<TrackedProcess> Processes => _tracked.Values;

    /// <summary>
    /// Everything that was written since the last call, by the processes that there are now. <paramref name="onNew"/> voids what was known of a process: its
    /// watch begins now; or of a range.
    /// </summary>
    internal void TakeWritten(Action<ImagePid, PageRange?> onNew, Action<ImagePid, PageRange> onWritten)
    {
        Dictionary<ImagePid, int> tree = TaskTree.Map(_rootPid);
        foreach (ImagePid gone in _tracked.Keys.Where(pid => !tree.ContainsKey(pid) || !_tracked[pid].Identity.Exists).ToList())
        {
            Drop(gone, onNew);
        }

        foreach ((ImagePid imagePid, int pid) in tree)
        {
            try
            {
                if (Track(imagePid, pid, onNew) is { } process)
                {
                    process.TakeWritten(range => onNew(imagePid, range), range => onWritten(imagePid, range));
                    if (process.CannotBeWatched is { } reason)
                    {
                        onNew(imagePid, null);
                        Say($"process {pid} is left out, because {reason}: a device may write into its memory unseen");
                    }
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The process ended, or cannot be watched: it runs on, and its memory moves behind the freeze.
                Drop(imagePid, onNew);
                if (Directory.Exists($"/proc/{pid}"))
                {
                    Say(e.Message);
                }
            }
        }
    }

    /// <summary>The process behind a pid of the images, if it is watched and the one that has this pid here.</summary>
    internal TrackedProcess? Find(ImagePid imagePid, int pid) =>
        _tracked.TryGetValue(imagePid, out TrackedProcess? process) && process.Identity.Pid == pid && process.Identity.Exists ? process : null;

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (TrackedProcess process in _tracked.Values)
        {
            process.Dispose();
        }

        _tracked.Clear();
        _injector.Dispose();
        if (!_injector.MayHaveLeftSomething)
        {
            File.Delete(_record);
        }
    }

    private TrackedProcess? Track(ImagePid imagePid, int pid, Action<ImagePid, PageRange?> onNew)
    {
        ProcessIdentity identity = ProcessIdentity.Of(pid);
        if (_refused.Contains(identity))
        {
            return null;
        }

        if (_tracked.TryGetValue(imagePid, out TrackedProcess? known))
        {
            if (known.Identity == identity)
            {
                return known.CannotBeWatched is null ? known : null;
            }

            Drop(imagePid, onNew);
        }

        onNew(imagePid, null);
        try
        {
            TrackedProcess process = new(pid, imagePid, () => new WriteProtection(_injector.Steal(pid, _earlierOneDied || _injector.MayHaveLeftSomething)));
            _tracked[imagePid] = process;
            return process;
        }
        catch (TrackingException)
        {
            _refused.Add(identity);
            throw;
        }
    }

    private void Drop(ImagePid imagePid, Action<ImagePid, PageRange?> onNew)
    {
        if (_tracked.Remove(imagePid, out TrackedProcess? process))
        {
            process.Dispose();
        }

        onNew(imagePid, null);
    }

    private void Say(string reason)
    {
        if (!_reasons.Contains(reason))
        {
            _reasons.Add(reason);
        }
    }
}
