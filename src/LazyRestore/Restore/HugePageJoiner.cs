using Microsoft.Win32.SafeHandles;
using PostCopy.Faults;
using PostCopy.Memory;
using PostCopy.Pages;

namespace PostCopy.Restore;

/// <summary>
/// Joins memory into transparent huge pages while it arrives, a region as soon as it is full: a thread of its own. What it misses, <see cref="HugePages"/>
/// finds when everything is there.
/// </summary>
/// <remarks>Nothing grows by it: as long as a mapping is registered with a userfaultfd, the kernel joins only what is there page by page.</remarks>
internal sealed class HugePageJoiner : IDisposable
{
    private readonly CancellationTokenSource _ending = new();
    private readonly ManualResetEventSlim _tasksRun = new();
    private readonly int _rootPid;
    private readonly FilledRegions _filled;
    private readonly Thread _thread;

    private HugePageJoiner(int rootPid, FilledRegions filled)
    {
        _rootPid = rootPid;
        _filled = filled;
        _thread = new Thread(Run) { IsBackground = true, Name = "huge pages" };
    }

    /// <summary>Follows this memory from now on, before anything was installed that nobody asked for. Null where there are no huge pages.</summary>
    /// <param name="memory">Of the tree.</param>
    /// <param name="rootPid">Its first process, by our pid.</param>
    internal static HugePageJoiner? TryStart(LazyMemory memory, int rootPid)
    {
        if (HugePages.Bytes is not { } bytes)
        {
            return null;
        }

        FilledRegions filled = new(bytes);
        memory.TellFilled(filled);
        HugePageJoiner joiner = new(rootPid, filled);
        joiner._thread.Start();
        return joiner;
    }

    /// <summary>It may join from here on. Before, it would take the CPUs and the address spaces that CRIU needs to let the tasks go, which is downtime.</summary>
    internal void TasksRun() => _tasksRun.Set();

    /// <summary>Ends it, in the middle of its work if need be. To be done while the userfaultfds are open.</summary>
    public void Dispose()
    {
        _ending.Cancel();
        _thread.Join();
        _ending.Dispose();
        _tasksRun.Dispose();
    }

    private void Run()
    {
        Dictionary<ImagePid, SafeFileHandle> processes = [];
        try
        {
            _tasksRun.Wait(_ending.Token);
            foreach ((ImagePid pid, int hostPid) in TaskTree.Map(_rootPid))
            {
                processes[pid] = HugePages.Open(hostPid);
            }

            foreach ((ImagePid pid, ulong start) in _filled.TakeAll(_ending.Token))
            {
                if (processes.TryGetValue(pid, out SafeFileHandle? process))
                {
                    // What cannot be joined stays as it is.
                    _ = HugePages.Join(process, start, _filled.RegionBytes);
                }

                _ending.Token.ThrowIfCancellationRequested();
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or PageSourceException)
        {
            // The session is ending, or the tree ended before it was looked at.
        }
        finally
        {
            foreach (SafeFileHandle process in processes.Values)
            {
                process.Dispose();
            }
        }
    }
}
