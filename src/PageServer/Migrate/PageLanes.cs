using System.Net.Sockets;
using PostCopy.Linux;
using PostCopy.Pages;
using PostCopy.Serve;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Migrate;

/// <summary>The demand and the push lane of a migration, each with a thread that serves it from start to end.</summary>
internal sealed class PageLanes(SocketLane demand, SocketLane push) : IDisposable
{
    private readonly TaskCompletionSource<string> _broken = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<Thread> _threads = [];
    private readonly BulkThread _pushing = new(installs: false);
    private volatile bool _closing;
    private volatile bool _memoryIsLost;

    /// <summary>Completes with the reason when a lane cannot go on: the pages that are still owed will not arrive.</summary>
    internal Task<string> Broken => _broken.Task;

    /// <summary>Whether a lane cannot go on because the memory is gone. The lanes are left open: they would take the control lane along, on which the destination is told.</summary>
    internal bool MemoryIsLost => _memoryIsLost;

    /// <summary>Bytes on both lanes, in both directions.</summary>
    internal ulong Bytes => demand.BytesReceived + demand.BytesSent + push.BytesReceived + push.BytesSent;

    /// <summary>The push lane, for what is sent on it before the push begins.</summary>
    internal SocketLane Push => push;

    /// <summary>The push lane cannot go on, for a reason that it does not see itself.</summary>
    internal void Fail(string reason)
    {
        push.Abort();
        _broken.TrySetResult(reason);
    }

    /// <summary>Begins to answer page requests.</summary>
    internal void StartDemand(PageServerSession session) => Run("demand", demand, () =>
    {
        // Not being permitted to is no error: faults then wait a little longer.
        _ = FaultPriority.TryRaise();
        return session.ServeDemandAsync(demand, CancellationToken.None);
    });

    /// <summary>The tasks run on the destination: until then a push takes only what CPU time is left.</summary>
    internal void TasksRun() => _pushing.TasksRun();

    /// <summary>Begins to push.</summary>
    internal void StartPush(PageServerSession session)
    {
        Run("push", push, () =>
        {
            _pushing.Enter();
            try
            {
                return session.PushAsync(push.Output, CancellationToken.None);
            }
            finally
            {
                _pushing.Leave();
            }
        });
        Run("push acks", push, () => session.ReadAcknowledgementsAsync(push.Input, CancellationToken.None));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _closing = true;
        demand.Abort();
        push.Abort();
        _threads.ForEach(static thread => thread.Join());
        demand.Dispose();
        push.Dispose();
    }

    private void Run(string name, SocketLane lane, Func<Task> serve)
    {
        Thread thread = new(() =>
        {
            try
            {
                // Over a socket lane everything completes on this thread.
                serve().GetAwaiter().GetResult();
            }
            catch (ProtocolException e)
            {
                LaneOpening.Refuse(lane, e);
                _broken.TrySetResult(e.Message);
            }
            catch (PageSourceException e) when (e.IsLost)
            {
                _memoryIsLost = true;
                _broken.TrySetResult(e.Message);
            }
            catch (Exception e) when (e is SocketException or IOException or InvalidOperationException or ObjectDisposedException or PageSourceException)
            {
                if (!_closing)
                {
                    lane.Abort();
                    _broken.TrySetResult($"the {name} lane failed: {e.Message}");
                }
            }
        })
        { IsBackground = true, Name = $"postcopy {name}" };
        _threads.Add(thread);
        thread.Start();
    }
}
