namespace PostCopy.Sessions;

/// <summary>At most one process works on a session: it holds a lock (flock(2)) that ends with it, however it ends.</summary>
internal static class SessionLock
{
    /// <summary>Whoever only looks at a session (<see cref="SessionList"/>) has its lock for an instant, too.</summary>
    private static readonly TimeSpan PatienceWithLookers = TimeSpan.FromMilliseconds(200);

    /// <summary>Takes the lock to work on a session; null when another process works on it.</summary>
    internal static FileStream? Take(string directory)
    {
        long giveUp = Environment.TickCount64 + (long)PatienceWithLookers.TotalMilliseconds;
        FileStream? held;
        while ((held = TryTake(directory)) is null && Environment.TickCount64 < giveUp)
        {
            Thread.Sleep(1);
        }

        return held;
    }

    /// <summary>Takes the lock of a session's directory; null when another process has it.</summary>
    internal static FileStream? TryTake(string directory) => FileLock.TryTake(Path.Combine(directory, "lock"));
}
