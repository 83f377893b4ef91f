using PostCopy.Faults;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Staging;

/// <summary>Puts valid staged pages in place at the speed of memory, and frees them as it goes: a thread of its own.</summary>
internal sealed class StagingInstaller
{
    private readonly LazyMemory _memory;
    private readonly StagedMemory _staged;
    private readonly ManualResetEventSlim _mayBegin;
    private readonly Thread _thread;

    private StagingInstaller(LazyMemory memory, StagedMemory staged, ManualResetEventSlim mayBegin)
    {
        _mayBegin = mayBegin;
        _memory = memory;
        _staged = staged;
        _thread = new Thread(Run) { IsBackground = true, Name = "staged pages" };
    }

    /// <summary>Has faults be served from the staged pages, too; the others are put in place when <paramref name="mayBegin"/> is set.</summary>
    internal static StagingInstaller Start(LazyMemory memory, StagedMemory staged, ManualResetEventSlim mayBegin)
    {
        StagingInstaller installer = new(memory, staged, mayBegin);
        memory.UseStaged(staged);
        installer._thread.Start();
        return installer;
    }

    /// <summary>Whether staged pages may still come to their places without anybody's help.</summary>
    internal bool IsAtWork => _thread.IsAlive;

    /// <summary>Waits for its end, which that of the memory brings about if nothing else does.</summary>
    internal void Join() => _thread.Join();

    private unsafe void Run()
    {
        // It holds the ledger's lock: not being preempted meanwhile is the faults' good. Not being permitted to is no error.
        _ = FaultPriority.TryRaise();
        try
        {
            _memory.WaitForRestore();
            _mayBegin.Wait();
            HashSet<ImagePid> known = [.. _memory.Processes];
            foreach ((ImagePid pid, StagedRegion region) in _staged.Regions().Where(entry => known.Contains(entry.Key)))
            {
                for (int page = 0; page < StagedRegion.Pages;)
                {
                    int count = _staged.RunOf(region, page, StagedRegion.Pages, out byte* bytes);
                    if (count > 0)
                    {
                        _memory.InstallStaged(pid, new PageRange(region.AddressOf(page), (ulong)count), bytes);
                    }

                    page += Math.Max(count, 1);
                }

                _staged.Free(region);
            }
        }
        catch (OperationCanceledException)
        {
            // The session has ended: what is not in place is owed, or not needed.
        }
    }
}
