using System.Globalization;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Pages;

namespace PostCopy.Tracking;

/// <summary>Watches the writes of a whole process tree that runs: processes and mappings come and go between looks.</summary>
/// <remarks>Not thread-safe. Disposing ends the watch and leaves nothing in the processes.</remarks>
internal sealed class DirtyTracker : IDisposable
{
    private readonly ProcessIdentity _root;
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
        _root = ProcessIdentity.Of(rootPid);
        _injector = new InjectorProcess(injectorProgram);
        _record = RecordOf(_root, stateDirectory);
        Directory.CreateDirectory(Path.GetDirectoryName(_record)!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        _earlierOneDied = File.Exists(_record);
        File.WriteAllBytes(_record, []);
    }

    /// <summary>Why processes, or mappings, are not watched; each reason once.</summary>
    internal IReadOnlyList<string> Reasons => _reasons;

    /// <summary>The processes that are watched.</summary>
    internal IReadOnlyCollection<TrackedProcess> Processes => _tracked.Values;

    /// <summary>Before a dump that no watch precedes: CRIU refuses a process with what a watch that died at work may have left in it. Returns what could not be put away.</summary>
    internal static IReadOnlyList<string> PutAwayWhatAnEarlierOneLeft(int rootPid, string injectorProgram, string stateDirectory)
    {
        if (!File.Exists(RecordOf(ProcessIdentity.Of(rootPid), stateDirectory)))
        {
            return [];
        }

        using DirtyTracker tracker = new(rootPid, injectorProgram, stateDirectory);
        tracker.TryPutAwayLeftovers();
        return tracker.Reasons;
    }

    /// <summary>
    /// Everything that was written since the last call, by the processes that there are now. <paramref name="onNew"/> voids what was known of a process: its
    /// watch begins now; or of a range.
    /// </summary>
    internal void TakeWritten(Action<ImagePid, PageRange?> onNew, Action<ImagePid, PageRange> onWritten)
    {
        Dictionary<ImagePid, int> tree = TaskTree.Map(_root.Pid);
        foreach (ImagePid gone in _tracked.Keys.Where(pid => !tree.ContainsKey(pid) || !_tracked[pid].Identity.Exists).ToList())
        {
            Drop(gone, onNew);
        }

        HashSet<int> others = [.. _tracked.Values.Select(static process => process.Identity.Pid)];
        foreach ((ImagePid imagePid, int pid) in tree)
        {
            try
            {
                if (Track(imagePid, pid, others, onNew) is { } process)
                {
                    process.TakeWritten(range => onNew(imagePid, range), range => onWritten(imagePid, range));
                    if (process.CannotBeWatched is { } reason)
                    {
                        _refused.Add(process.Identity);
                        Drop(imagePid, onNew);
                        Say($"process {pid} is left out, because {reason}: a device may write into its memory unseen");
                    }
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The process ended, or cannot be watched: it runs on, and its memory moves behind the freeze.
                Drop(imagePid, onNew);
                if (!TaskTree.HasEnded(pid))
                {
                    Say(e.Message);
                }
            }

            others.Add(pid);
        }
    }

    /// <summary>Has processes close what an injector that died at work left in them. False when that may still be there.</summary>
    internal bool TryPutAwayLeftovers()
    {
        bool away = true;
        foreach (int pid in _injector.MayHoldSomething.Union(_earlierOneDied ? Tree() : []).ToList())
        {
            try
            {
                if (TargetChecks.HasLeftover(pid))
                {
                    _ = Libc.close(_injector.Steal(pid, closeLeftovers: true));
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                if (!TaskTree.HasEnded(pid))
                {
                    away = false;
                    Say($"process {pid} may have a userfaultfd of ours left, with which CRIU does not dump it: {e.Message}");
                }
            }
        }

        return away;
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
        if (TryPutAwayLeftovers())
        {
            File.Delete(_record);
        }

        _injector.Dispose();
    }

    private int[] Tree()
    {
        try
        {
            return [.. TaskTree.Map(_root.Pid).Values];
        }
        catch (IOException) when (!_root.IsAlive)
        {
            return [];
        }
    }

    private static string RecordOf(ProcessIdentity root, string stateDirectory) =>
        Path.Combine(stateDirectory, "tracking", string.Create(CultureInfo.InvariantCulture, $"{root.Pid}-{root.StartTicks}"));

    /// <param name="imagePid">Its pid in the images.</param>
    /// <param name="pid">Its pid here.</param>
    /// <param name="others">All that are watched, and all that this look has met.</param>
    /// <param name="onNew">Voids what was known of it.</param>
    private TrackedProcess? Track(ImagePid imagePid, int pid, HashSet<int> others, Action<ImagePid, PageRange?> onNew)
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
                return known;
            }

            Drop(imagePid, onNew);
        }

        onNew(imagePid, null);
        if (others.Any(other => other != pid && SharedMemory.Is(pid, other)))
        {
            // Two looks at one address space would each take marks that the other needs. One day it executes a program, and has its own; CRIU dumps none that has not.
            return null;
        }

        try
        {
            TrackedProcess process = new(pid, imagePid, () => new WriteProtection(_injector.Steal(pid, _earlierOneDied)));
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
