using PostCopy.Memory;

namespace PostCopy.Serve;

/// <summary>What is known to be needed soon, the hottest first: pages that the program wrote shortly before the freeze, and often.</summary>
internal sealed class HottestFirst(IReadOnlyList<KeyValuePair<ImagePid, PageRange>> runs)
{
    private int _next;
    private ulong _done;

    /// <summary>The next unsent pages of the list; false when it is done.</summary>
    internal bool TryNext(UnsentPages unsent, int maxPages, out int space, out PageRange run)
    {
        for (; _next < runs.Count; _next++, _done = 0)
        {
            (ImagePid pid, PageRange range) = runs[_next];
            if (unsent.TryGetSpace(pid, out space) && unsent.TryFindRun(space, Math.Max(range.Start, _done), maxPages, out run))
            {
                run = run.Intersect(range);
                if (run.PageCount > 0)
                {
                    _done = run.EndExclusive;
                    return true;
                }
            }
        }

        space = 0;
        run = default;
        return false;
    }
}
