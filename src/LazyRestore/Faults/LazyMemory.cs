using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Userfault;

namespace PostCopy.Faults;

/// <summary>
/// The memory of a restored process tree while pages of it are still elsewhere: serves its page faults, follows what it does to its address
/// spaces, and puts arriving pages in place.
/// </summary>
/// <remarks>
/// <para>
/// In order: <see cref="Add"/> for each userfaultfd as CRIU hands it over, from which moment its faults are served; <see cref="RestoreFinished"/>
/// when CRIU says so; <see cref="Install"/> and <see cref="InstallZero"/> from any number of threads; <see cref="Drained"/>; <see cref="Close"/>.
/// </para>
/// <para>Page addresses at this door are the dump's.</para>
/// </remarks>
internal sealed partial class LazyMemory : IDisposable
{
    private readonly Dictionary<ImagePid, DumpedProcess> _processes = [];
    private readonly ConcurrentDictionary<int, AddressSpace> _spaces = [];
    private readonly IPageRequester _requester;
    private volatile IUserfaultfdKeeper _keeper;
    private readonly ILogger _logger;
    private readonly EventJournal? _journal;
    private readonly Epoll _epoll = new();
    private readonly Thread _faultThread;
    private readonly ManualResetEventSlim _restoreFinished = new();
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _closing = new();
    private readonly PendingFaults _pendingFaults = new();
    private volatile FilledRegions? _filled;
    private int _lastId;

    /// <param name="owed">For each process its owed pages: sorted, not overlapping, best each range inside one mapping.</param>
    /// <param name="requester">Asks the source for a page that a task waits for.</param>
    /// <param name="keeper">Gets every userfaultfd first.</param>
    /// <param name="logger">Hears of changes of state, never of single pages.</param>
    /// <param name="journal">For whoever has to go on should this process die; not disposed of here.</param>
    /// <exception cref="IOException">More is owed than this host has memory.</exception>
    public LazyMemory(
        IReadOnlyList<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> owed, IPageRequester requester, IUserfaultfdKeeper keeper, ILogger logger, EventJournal? journal = null)
    {
        _journal = journal;
        _requester = requester;
        _keeper = keeper;
        _logger = logger;
        RefuseMoreThanThereIs(owed);
        foreach ((ImagePid pid, IReadOnlyList<PageRange> ranges) in owed)
        {
            DumpedProcess process = new(pid, _processes.Count, ranges);
            _processes.Add(pid, process);
            Counters.AddOwed(process.Layout.PageCount);
        }

        _faultThread = new Thread(ServeFaults) { IsBackground = true, Name = "page faults" };
        _faultThread.Start();
    }

    /// <summary>A few bytes of an image can claim any amount of pages, and each page costs some bits before it comes.</summary>
    private static void RefuseMoreThanThereIs(IReadOnlyList<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> owed)
    {
        ulong pages = owed.SelectMany(static process => process.Value).Aggregate(0UL, static (sum, range) => sum + range.PageCount);
        ulong there = new HostMemory().Total;
        if (pages > there >> PageSize.Shift)
        {
            throw new IOException($"the images owe {pages >> (20 - PageSize.Shift)} MiB of memory, this host has {there >> 20} MiB with its swap");
        }
    }

    /// <summary>Progress; see also <see cref="FaultLatency"/>.</summary>
    public FaultCounters Counters { get; } = new();

    /// <summary>From the moment a fault on an owed page was read to the moment the page was in place.</summary>
    public LatencyHistogram FaultLatency => _pendingFaults.Latency;

    /// <summary>The kernel has no memory for pages at this moment: installers wait, and tasks with them. The usual reason is a full memory cgroup.</summary>
    public bool IsShortOfMemory => _isShortOfMemory;

    /// <summary>Completes when the restore is finished and no page is owed to anybody any more.</summary>
    public Task Drained => _drained.Task;

    /// <summary>
    /// A page that is owed cannot be put in place, or the fault thread met what it cannot handle. Nothing is lost by it: the page stays owed, tasks
    /// that need it wait, and <see cref="Drained"/> stays away. Raised on the thread that met it.
    /// </summary>
    public event Action<Exception>? Failed;

    /// <summary>Takes over the userfaultfd of a process, with its ownership. Its faults are served from now on.</summary>
    /// <exception cref="LinuxException">The keeper did not take it. It is served all the same: to close it could give a task zeroes.</exception>
    /// <exception cref="ArgumentException">The process already has one.</exception>
    public void Add(ImagePid pid, Userfaultfd uffd)
    {
        int id = Interlocked.Increment(ref _lastId);
        try
        {
            _keeper.Keep(id, uffd);
        }
        catch (LinuxException)
        {
            ServeArrived(id, pid, uffd);
            throw;
        }

        ServeArrived(id, pid, uffd);
    }

    private void ServeArrived(int id, ImagePid pid, Userfaultfd uffd)
    {
        DumpedProcess process = _processes.GetValueOrDefault(pid) ?? new DumpedProcess(pid, _processes.Count, owed: []);
        if (process.HasArrived)
        {
            throw new ArgumentException($"process {pid} has a userfaultfd already", nameof(pid));
        }

        _journal?.AppendAdded(id, pid);
        Serve(new AddressSpace(id, process, uffd, new OwedPages(process.Layout)));
    }

    /// <summary>The keeper has died: another one gets every userfaultfd that there is, and those to come. Returns how many it got.</summary>
    /// <exception cref="LinuxException">This one has died, too.</exception>
    public int ReplaceKeeper(IUserfaultfdKeeper keeper)
    {
        int count = 0;
        // Before the look at what there is: a child that is forked meanwhile may be given twice, and must not be missed.
        _keeper = keeper;
        foreach (AddressSpace space in _spaces.Values)
        {
            space.Lock.EnterShared();
            try
            {
                if (!space.IsGone)
                {
                    keeper.Keep(space.Id, space.Uffd);
                    count++;
                }
            }
            finally
            {
                space.Lock.ExitShared();
            }
        }

        return count;
    }

    /// <summary>From now on what is filled is told there; not disposed of here.</summary>
    public void TellFilled(FilledRegions regions) => _filled = regions;

    /// <summary>CRIU has registered all memory, so pages that no task asked for may be installed from now on.</summary>
    /// <exception cref="InvalidDataException">A process that is owed pages has no userfaultfd.</exception>
    public void RestoreFinished()
    {
        foreach (DumpedProcess process in _processes.Values)
        {
            if (!process.HasArrived && process.Layout.PageCount > 0)
            {
                throw new InvalidDataException(
                    $"CRIU finished the restore without a userfaultfd of process {process.Pid}, which is owed {process.Layout.PageCount} pages");
            }
        }

        _restoreFinished.Set();
        CompleteWhenDrained();
    }

    /// <summary>The processes that were owed pages at the start.</summary>
    public IReadOnlyCollection<ImagePid> Processes => _processes.Keys;

    /// <summary>The pages of a process that it or a child forked since is still owed, by dump-time address: what a resumed session asks for.</summary>
    public IReadOnlyList<PageRange> StillOwed(ImagePid pid)
    {
        DumpedProcess process = Find(pid);
        return process.Layout.RangesOf(process.StillOwed());
    }

    /// <summary>True while a process of the dump, or a child forked from it since, is owed a page.</summary>
    public bool IsOwedAnything(ImagePid pid) =>
        Find(pid) is var process && (!process.HasArrived || Array.Exists(process.Members, static member => member.Owed.Remaining > 0));

    /// <summary>Asks for pages that no task waits for yet.</summary>
    public void Fetch(IReadOnlyList<KeyValuePair<ImagePid, PageRange>> pages)
    {
        foreach ((ImagePid pid, PageRange range) in pages)
        {
            _requester.Request(pid, range);
        }

        _requester.Flush();
    }

    /// <summary>True when these pages are owed to nobody any more.</summary>
    public bool AreIn(IReadOnlyList<KeyValuePair<ImagePid, PageRange>> pages) =>
        pages.All(page => Array.TrueForAll(Find(page.Key).Members, member => !member.Owed.TryNext(page.Value.Start, page.Value.EndExclusive, 1, out _)));

    /// <summary>Asks again for all pages that were asked for and have not come: after a reconnection their answers are lost.</summary>
    public void RepeatRequests()
    {
        foreach (DumpedProcess process in _processes.Values)
        {
            PageBitmap waiting = process.StillOwed();
            waiting.And(process.Requested);
            foreach (PageRange range in process.Layout.RangesOf(waiting))
            {
                _requester.Request(process.Pid, range);
            }
        }

        _requester.Flush();
    }

    /// <summary>
    /// Lets go of tasks that have exited, and of what they were owed. The kernel tells of an exit only who puts a page in place; when none arrive, by
    /// policy or because the source is away, somebody has to ask now and then.
    /// </summary>
    public void RetireExited()
    {
        foreach (AddressSpace space in _spaces.Values)
        {
            if (HasExited(space))
            {
                Retire(space);
            }
        }
    }

    /// <summary>
    /// Every task has ended, and at least one of them while it was still owed pages: by itself, or killed, or because CRIU failed after all. That cannot be
    /// told apart from here.
    /// </summary>
    public bool HaveEndedBeforeTheirPages()
    {
        RetireExited();
        return _spaces.IsEmpty && Counters.DroppedByExits > 0;
    }

    private static bool HasExited(AddressSpace space)
    {
        space.Lock.EnterShared();
        try
        {
            return !space.IsGone && !space.Uffd.IsAlive;
        }
        finally
        {
            space.Lock.ExitShared();
        }
    }

    /// <summary>Ends the service of memory that is complete: reads what events are pending and closes all userfaultfds.</summary>
    /// <exception cref="InvalidOperationException">Pages are still owed.</exception>
    public void Close()
    {
        if (!Drained.IsCompleted)
        {
            throw new InvalidOperationException($"{Counters.Remaining} pages are still owed; to close now could turn them into zeroes");
        }

        Dispose();
    }

    /// <summary>
    /// Ends the service in whatever state it is. While pages are owed it is the keeper's duplicates that make tasks wait for them; without a keeper
    /// they would read zeroes. Installing threads get an <see cref="OperationCanceledException"/>.
    /// </summary>
    public void Dispose()
    {
        if (_closing.IsCancellationRequested)
        {
            return;
        }

        _closing.Cancel();
        _epoll.WakeUp();
        _faultThread.Join();
        foreach (AddressSpace space in _spaces.Values)
        {
            Release(space, hasExited: false);
        }

        _epoll.Dispose();
    }

    private DumpedProcess Find(ImagePid pid) =>
        _processes.TryGetValue(pid, out DumpedProcess? process) ? process : throw new InvalidDataException($"no process {pid} is owed pages");

    /// <summary>Locked, so that nobody finds its task gone and takes apart what is only half there.</summary>
    private void Serve(AddressSpace space)
    {
        space.Lock.EnterExclusive();
        try
        {
            _spaces[space.Id] = space;
            space.Process.Add(space);
            _epoll.Add(space.Uffd.Descriptor, space.Id);
        }
        finally
        {
            space.Lock.ExitExclusive();
        }
    }

    /// <summary>The task exited. For any thread that holds no lock; the first one does it.</summary>
    private void Retire(AddressSpace space)
    {
        if (Release(space, hasExited: true) is long pages)
        {
            FaultsLog.Gone(_logger, space.Process.Pid, pages);
            Counters.AddDroppedByExit(pages);
            CompleteWhenDrained();
        }
    }

    /// <summary>Closes its descriptor. Returns the pages it was owed; null when another thread was first.</summary>
    private long? Release(AddressSpace space, bool hasExited)
    {
        space.Lock.EnterExclusive();
        try
        {
            if (space.IsGone)
            {
                return null;
            }

            if (hasExited)
            {
                // In this order: what the log calls gone may still be held, but what it does not must be. And while a keeper's successor can see it among the others.
                _journal?.AppendGone(space.Id);
                DropFromKeeper(space.Id);
            }

            space.IsGone = true;
            _spaces.TryRemove(space.Id, out _);
            space.Process.Remove(space);
            _epoll.Remove(space.Uffd.Descriptor);
            space.Uffd.Dispose();
            return space.Owed.DropAll();
        }
        finally
        {
            space.Lock.ExitExclusive();
        }
    }

    private void DropFromKeeper(int id)
    {
        try
        {
            _keeper.Drop(id);
        }
        catch (LinuxException)
        {
            // One that is dead holds nothing.
        }
    }

    private void CompleteWhenDrained()
    {
        if (_restoreFinished.IsSet && Counters.Remaining == 0)
        {
            _drained.TrySetResult();
        }
    }

    private void Fail(Exception exception) => Failed?.Invoke(exception);
}
