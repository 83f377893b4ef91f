using PostCopy.Memory;

namespace PostCopy.Serve;

/// <summary>Pushes nothing: only faults move pages. For research; the drain ends when the program has touched, or given up, all of its memory.</summary>
internal sealed class NoPushPolicy : IPrefetchPolicy
{
    /// <inheritdoc/>
    public void OnFault(int space, ulong address)
    {
    }

    /// <inheritdoc/>
    public bool TryNext(UnsentPages unsent, int maxPages, out int space, out PageRange run)
    {
        space = 0;
        run = default;
        return false;
    }
}
