namespace PostCopy.Linux;

/// <summary>
/// The priority of a thread that moves pages in bulk: behind everything else while CRIU lets the tasks go, which is downtime, and from then on what
/// <see cref="FaultPriority.TryLengthenSlices"/> gives.
/// </summary>
/// <remarks>Not being permitted to change it is no error.</remarks>
internal sealed class BulkThread(bool installs)
{
    private readonly Lock _lock = new();
    private int _thread;
    private bool _tasksRun;

    /// <summary>The calling thread is the one.</summary>
    internal void Enter()
    {
        lock (_lock)
        {
            _thread = FaultPriority.Thread;
            _ = _tasksRun ? FaultPriority.TryLengthenSlices(installs) : FaultPriority.TryLower();
        }
    }

    /// <summary>The thread has ended, or does something else from here on.</summary>
    internal void Leave()
    {
        lock (_lock)
        {
            // Another one, of a later connection, may have entered already.
            _thread = _thread == FaultPriority.Thread ? 0 : _thread;
        }
    }

    /// <summary>The tasks run: whatever they miss they wait for.</summary>
    internal void TasksRun()
    {
        lock (_lock)
        {
            _tasksRun = true;
            if (_thread != 0)
            {
                _ = FaultPriority.TryLengthenSlices(installs, _thread);
            }
        }
    }
}
