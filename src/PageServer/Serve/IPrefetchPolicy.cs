using PostCopy.Memory;

namespace PostCopy.Serve;

/// <summary>Which pages to push next. A pure class: it is told about faults and asked for the next range; it knows neither sockets nor time.</summary>
internal interface IPrefetchPolicy
{
    /// <summary>The destination faulted on a page of this space.</summary>
    void OnFault(int space, ulong address);

    /// <summary>The next run of unsent pages to push, at most <paramref name="maxPages"/> long; false when nothing is to be pushed (any more).</summary>
    bool TryNext(UnsentPages unsent, int maxPages, out int space, out PageRange run);
}
