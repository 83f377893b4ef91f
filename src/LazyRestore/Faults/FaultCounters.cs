namespace PostCopy.Faults;

/// <summary>What has happened so far, in pages unless said otherwise. Readable from any thread.</summary>
internal sealed class FaultCounters
{
    private long _remaining;
    private long _installedByDemand;
    private long _installedByPush;
    private long _installedStaged;
    private long _localFaults;
    private long _zeroFilled;
    private long _dropped;
    private long _droppedByExits;
    private long _lost;
    private long _faults;
    private long _forks;

    /// <summary>Pages still owed, forked children's included.</summary>
    public long Remaining => Interlocked.Read(ref _remaining);

    /// <summary>Pages installed after a task asked for them.</summary>
    public long InstalledByDemand => Interlocked.Read(ref _installedByDemand);

    /// <summary>Pages installed before any task asked for them.</summary>
    public long InstalledByPush => Interlocked.Read(ref _installedByPush);

    /// <summary>Pages installed that were on this host before the freeze.</summary>
    public long InstalledStaged => Interlocked.Read(ref _installedStaged);

    /// <summary>Page faults on owed pages that were served with such a page.</summary>
    public long LocalFaults => Interlocked.Read(ref _localFaults);

    /// <summary>Zero pages mapped for memory that was never owed or was given up.</summary>
    public long ZeroFilled => Interlocked.Read(ref _zeroFilled);

    /// <summary>Owed pages that nobody needs any more: given up, unmapped, or their task exited.</summary>
    public long Dropped => Interlocked.Read(ref _dropped);

    /// <summary>Those among them whose task exited.</summary>
    public long DroppedByExits => Interlocked.Read(ref _droppedByExits);

    /// <summary>Pages that were given up because their bytes are lost.</summary>
    public long Lost => Interlocked.Read(ref _lost);

    /// <summary>Page faults read from the kernel, those on memory never owed included.</summary>
    public long Faults => Interlocked.Read(ref _faults);

    /// <summary>Forked address spaces taken over.</summary>
    public long Forks => Interlocked.Read(ref _forks);

    public void AddOwed(long pages) => Interlocked.Add(ref _remaining, pages);

    public void AddInstalled(long byDemand, long byPush)
    {
        Interlocked.Add(ref _installedByDemand, byDemand);
        Interlocked.Add(ref _installedByPush, byPush);
        Interlocked.Add(ref _remaining, -byDemand - byPush);
    }

    public void AddInstalledStaged(long pages)
    {
        Interlocked.Add(ref _installedStaged, pages);
        Interlocked.Add(ref _remaining, -pages);
    }

    public void AddLocalFault() => Interlocked.Increment(ref _localFaults);

    public void AddDropped(long pages)
    {
        Interlocked.Add(ref _dropped, pages);
        Interlocked.Add(ref _remaining, -pages);
    }

    public void AddDroppedByExit(long pages)
    {
        Interlocked.Add(ref _droppedByExits, pages);
        AddDropped(pages);
    }

    public void AddLost(long pages)
    {
        Interlocked.Add(ref _lost, pages);
        Interlocked.Add(ref _remaining, -pages);
    }

    public void AddZeroFilled(long pages) => Interlocked.Add(ref _zeroFilled, pages);

    public void AddFault() => Interlocked.Increment(ref _faults);

    public void AddFork() => Interlocked.Increment(ref _forks);
}
