using PostCopy.Memory;

namespace PostCopy.Serve;

/// <summary>Lowest address first, one address space after the other: no state worth mentioning, large runs, no opinion about faults.</summary>
internal sealed class SequentialPolicy : IPrefetchPolicy
{
    private int _space;
    private ulong _next;

    /// <inheritdoc/>
    public void OnFault(int space, ulong address)
    {
    }

    /// <inheritdoc/>
    public bool TryNext(UnsentPages unsent, int maxPages, out int space, out PageRange run)
    {
        for (; _space < unsent.SpaceCount; _space++, _next = 0)
        {
            if (unsent.TryFindRun(_space, _next, maxPages, out run))
            {
                space = _space;
                _next = run.EndExclusive;
                return true;
            }
        }

        space = 0;
        run = default;
        return false;
    }
}
