using System.Net.Sockets;
using PostCopy.Faults;
using PostCopy.Linux;
using PostCopy.Restore;
using PostCopy.Staging;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Agent;

/// <summary>
/// A session's demand and push lane on this side, each with a thread that receives from it. When the source connects anew, a new epoch begins: the
/// lanes of the one before are dropped.
/// </summary>
internal sealed class PageLaneThreads(Action<SessionEvent> post) : IDisposable
{
    private readonly Lock _lock = new();
    private readonly Dictionary<LaneRole, SocketLane> _lanes = [];
    private readonly List<Thread> _threads = [];
    private LazyMemory? _memory;
    private uint _epoch;
    private bool _checksums;
    private bool _closing;
    private readonly ManualResetEventSlim _memoryReady = new();
    private readonly HashSet<SocketLane> _served = [];
    private readonly ManualResetEventSlim _mayInstallStaged = new();
    private readonly BulkThread _receivingPush = new(installs: true);
    private StagedMemory? _staged;
    private StagingInstaller? _installer;
    private Thread? _stagingThread;

    /// <summary>Where faults ask for their pages.</summary>
    internal DemandLane Demand { get; } = new();

    /// <summary>Pages that were staged before the freeze are still being put in place: they are here, and need no source.</summary>
    internal bool IsInstallingStaged => Volatile.Read(ref _installer) is { IsAtWork: true };

    /// <summary>Takes a lane and acknowledges it. Throws <see cref="ProtocolException"/> when there is one of this role, or the session is ending.</summary>
    internal void Attach(LaneRole role, uint epoch, SocketLane lane, byte[] proof)
    {
        lock (_lock)
        {
            if (epoch != _epoch)
            {
                throw new ProtocolException(WireErrorCode.Taken, $"the session's control lane is of epoch {_epoch}, this {role} lane of {epoch}");
            }

            if (_closing || !_lanes.TryAdd(role, lane))
            {
                throw new ProtocolException(WireErrorCode.Taken, _closing ? "the session is ending" : $"the session has a {role} lane already");
            }

            LaneOpening.Acknowledge(lane, proof);
            if (_memory is not null)
            {
                Run(role, lane);
            }
            else if (_staged is not null && role == LaneRole.Push)
            {
                RunStaging(lane);
            }
        }
    }

    /// <summary>Drops the lanes there are. From now on those of a later connection are taken.</summary>
    internal void BeginEpoch(uint epoch)
    {
        lock (_lock)
        {
            _epoch = epoch;
            DropLanes();
            _threads.RemoveAll(static thread => !thread.IsAlive);
        }
    }

    /// <summary>Until the freeze, pages that come on the push lane of this connection are kept; those that are valid behind it are put in place from here.</summary>
    internal void StartStaging(StagedMemory staged, bool checksums)
    {
        lock (_lock)
        {
            _staged = staged;
            _checksums = checksums;
            if (_lanes.TryGetValue(LaneRole.Push, out SocketLane? lane))
            {
                RunStaging(lane);
            }
        }
    }

    /// <summary>
    /// The tasks run, or may not before all is in place: from now on staged pages are put in place without being asked for, and pushed ones at full speed. Until
    /// then that would take the CPUs that CRIU needs to let the tasks go; faults are served at any time.
    /// </summary>
    internal void TasksRun()
    {
        _receivingPush.TasksRun();
        _mayInstallStaged.Set();
    }

    /// <summary>Frees what was kept. The lanes must have been dropped, and the memory have ended.</summary>
    internal void ReleaseStaging()
    {
        _mayInstallStaged.Set();
        _stagingThread?.Join();
        _installer?.Join();
        _staged?.Dispose();
        _staged = null;
    }

    /// <summary>Pages that arrive are installed in <paramref name="memory"/> from now on, those whose checksums fit if the frames have some.</summary>
    internal void Start(LazyMemory memory, bool checksums)
    {
        lock (_lock)
        {
            _memory = memory;
            _checksums = checksums;
            foreach ((LaneRole role, SocketLane lane) in _lanes.Where(entry => !_served.Contains(entry.Value)))
            {
                Run(role, lane);
            }

            _memoryReady.Set();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            _closing = true;
            DropLanes();
        }

        _threads.ForEach(static thread => thread.Join());
    }

    private void DropLanes()
    {
        // The fault thread may still ask.
        Demand.Detach();
        foreach (SocketLane lane in _lanes.Values)
        {
            lane.Abort();
            if (!_served.Remove(lane))
            {
                lane.Dispose();
            }
        }

        _lanes.Clear();
        if (_staged is not null)
        {
            // Whoever waits for memory finds that its lane is gone.
            _memoryReady.Set();
        }
    }

    private void RunStaging(SocketLane lane)
    {
        uint epoch = _epoch;
        StagedMemory staged = _staged!;
        _served.Add(lane);
        _stagingThread = new Thread(() => Receive(LaneRole.Push, epoch, lane, () => ReceiveStaged(lane, staged))) { IsBackground = true, Name = "Push lane" };
        _threads.Add(_stagingThread);
        _stagingThread.Start();
    }

    /// <summary>What is not complete is not used: its pages are owed as all others.</summary>
    private void ReceiveStaged(SocketLane lane, StagedMemory staged)
    {
        if (!new StagingReceiver(lane, staged, _checksums).Receive())
        {
            return;
        }

        _memoryReady.Wait();
        LazyMemory? memory;
        lock (_lock)
        {
            memory = _memory;
        }

        if (memory is not null)
        {
            _installer = StagingInstaller.Start(memory, staged, _mayInstallStaged);
            ReceivePush(new PageReceiver(lane, memory, _checksums));
        }
    }

    private void Run(LaneRole role, SocketLane lane)
    {
        uint epoch = _epoch;
        _served.Add(lane);
        PageReceiver receiver = new(lane, _memory!, _checksums);
        Thread thread = new(() => Receive(role, epoch, lane, () => ReceivePages(role, receiver))) { IsBackground = true, Name = $"{role} lane" };
        _threads.Add(thread);
        if (role == LaneRole.Demand)
        {
            Demand.Attach(lane);
            // After a reconnection the answers to what was asked before do not come.
            _memory!.RepeatRequests();
        }

        thread.Start();
    }

    private void ReceivePages(LaneRole role, PageReceiver receiver)
    {
        if (role == LaneRole.Demand)
        {
            // Not being permitted to is no error: faults then wait a little longer.
            _ = FaultPriority.TryRaise();
            receiver.ReceiveAnswers(Demand);
        }
        else
        {
            ReceivePush(receiver);
        }
    }

    private void ReceivePush(PageReceiver receiver)
    {
        _receivingPush.Enter();
        try
        {
            receiver.ReceivePush();
        }
        finally
        {
            _receivingPush.Leave();
        }
    }

    private void Receive(LaneRole role, uint epoch, SocketLane lane, Action receive)
    {
        string reason = $"the source closed the {role} lane";
        try
        {
            receive();
        }
        catch (ProtocolException e)
        {
            reason = $"{role} lane: {e.Message}";
            LaneOpening.Refuse(lane, e);
        }
        catch (Exception e) when (e is SocketException or IOException or InvalidOperationException or InvalidDataException or OperationCanceledException)
        {
            reason = $"the {role} lane failed: {e.Message}";
            lane.Abort();
        }

        // Whoever else would use it has stopped by now.
        Demand.Detach(lane);
        lane.Dispose();
        lock (_lock)
        {
            if (!_closing && epoch == _epoch)
            {
                post(new SessionEvent.LaneBroken(epoch, reason));
            }
        }
    }
}
