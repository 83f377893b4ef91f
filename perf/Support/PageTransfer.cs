using System.Collections.Concurrent;
using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.Buffers;
using PostCopy.Faults;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Migrate;
using PostCopy.Pages;
using PostCopy.Restore;
using PostCopy.Serve;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Perf.Support;

/// <summary>
/// The product's whole way of a page from one process into another, without CRIU around it: page server, lanes over loopback, receivers, fault
/// thread. Both sides are in this process.
/// </summary>
internal sealed class PageTransfer : IDisposable
{
    /// <summary>The first process.</summary>
    internal static readonly ImagePid Pid = new(1);

    private readonly PagePool _pool = new();
    private readonly ProcessPageSource _source;
    private readonly PageServerSession _server;
    private readonly PageLanes _sourceLanes;
    private readonly SocketLane _targetDemand;
    private readonly SocketLane _targetPush;
    private readonly DemandLane _demand = new();
    private readonly ConcurrentQueue<Exception> _failures = [];
    private readonly List<Thread> _threads = [];
    private volatile bool _closing;

    /// <summary>All of the targets' memory is missing when this returns, and faults are served. Each is owed what the one source has.</summary>
    internal PageTransfer(MemoryProgram source, params MemoryProgram[] targets)
        : this(source, tls: null, targets)
    {
    }

    /// <summary>The same through encrypted lanes.</summary>
    internal PageTransfer(MemoryProgram source, LoopbackTls? tls, params MemoryProgram[] targets)
    {
        ImagePid[] pids = [.. Enumerable.Range(Pid.Value, targets.Length).Select(static number => new ImagePid(number))];
        List<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> owed = [.. pids.Select(pid => KeyValuePair.Create<ImagePid, IReadOnlyList<PageRange>>(pid, [source.Region]))];
        _source = new ProcessPageSource(pids.ToDictionary(static pid => pid, _ => source.Pid));
        _server = new PageServerSession(_source, new PushPlan(new UnsentPages(owed), new SequentialPolicy()));
        (SocketLane sourceDemand, _targetDemand) = LoopbackLanes.Connect(LaneRole.Demand, _pool, tls);
        (SocketLane sourcePush, _targetPush) = LoopbackLanes.Connect(LaneRole.Push, _pool, tls);
        _sourceLanes = new PageLanes(sourceDemand, sourcePush);
        Memory = new LazyMemory(owed, _demand, new NoKeeper(), NullLogger.Instance);
        Memory.Failed += _failures.Enqueue;
        foreach ((ImagePid pid, MemoryProgram target) in pids.Zip(targets))
        {
            Memory.Add(pid, target.ArmForUs());
        }

        Memory.RestoreFinished();
        _demand.Attach(_targetDemand);
        Run("demand lane", () =>
        {
            _ = FaultPriority.TryRaise();
            new PageReceiver(_targetDemand, Memory).ReceiveAnswers(_demand);
        });
        Run("push lane", () =>
        {
            _ = FaultPriority.TryLengthenSlices(installs: true);
            new PageReceiver(_targetPush, Memory).ReceivePush();
        });
        _sourceLanes.StartDemand(_server);
    }

    internal LazyMemory Memory { get; }

    internal ulong BytesOnWire => _sourceLanes.Bytes;

    internal void StartPush()
    {
        // There is no restore that the push would have to stand behind.
        _sourceLanes.TasksRun();
        _sourceLanes.StartPush(_server);
    }

    internal void WaitUntilDrained()
    {
        if (Task.WaitAny([Memory.Drained, _sourceLanes.Broken], TimeSpan.FromMinutes(5)) != 0)
        {
            throw new InvalidOperationException(_sourceLanes.Broken.IsCompleted ? _sourceLanes.Broken.Result : $"{Memory.Counters.Remaining} pages are still owed");
        }
    }

    public void Dispose()
    {
        _closing = true;
        _targetDemand.Abort();
        _targetPush.Abort();
        _threads.ForEach(static thread => thread.Join());
        _sourceLanes.Dispose();
        _targetDemand.Dispose();
        _targetPush.Dispose();
        Memory.Dispose();
        _source.Dispose();
        _pool.Dispose();
        Assert.Empty(_failures);
    }

    private void Run(string name, Action receive)
    {
        Thread thread = new(() =>
        {
            try
            {
                receive();
            }
            catch (Exception e) when (_closing && e is SocketException or InvalidOperationException)
            {
                // The end that Dispose makes.
            }
            catch (Exception e)
            {
                _failures.Enqueue(e);
            }
        })
        { IsBackground = true, Name = name };
        _threads.Add(thread);
        thread.Start();
    }
}
