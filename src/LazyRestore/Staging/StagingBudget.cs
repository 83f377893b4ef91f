namespace PostCopy.Staging;

/// <summary>Bounds the memory that all sessions together keep before their freeze.</summary>
internal sealed class StagingBudget(long limitBytes)
{
    private long _used;

    /// <summary>Whether there is any room at all.</summary>
    internal bool IsOpen => limitBytes > 0;

    internal long Used => Interlocked.Read(ref _used);

    internal bool TryReserve(long bytes)
    {
        if (Interlocked.Add(ref _used, bytes) <= limitBytes)
        {
            return true;
        }

        Release(bytes);
        return false;
    }

    internal void Release(long bytes) => Interlocked.Add(ref _used, -bytes);
}
