using PostCopy.Memory;

namespace PostCopy.Serve;

/// <summary>
/// Pushes around the latest faults, forward more than backward, as programs go; when there is nothing left around them, from the lowest address.
/// ("Bubbling" around several pivots: Hines and Gopalan, VEE 2009.)
/// </summary>
internal sealed class NeighboursPolicy : IPrefetchPolicy
{
    /// <summary>Faults remembered: one for each stream of accesses that may go on at the same time.</summary>
    private const int Pivots = 16;

    /// <summary>Pages in a run near a pivot: few enough that the next pivot's turn comes soon, enough to send at a good rate.</summary>
    private const int PagesPerRun = 64;

    /// <summary>A pivot gives up behind this many pages in either direction: what lies farther has little to do with the fault.</summary>
    private const ulong Reach = 16_384;

    /// <summary>Of so many runs, one goes backward.</summary>
    private const int BackwardEvery = 4;

    private readonly SequentialPolicy _rest = new();
    private readonly Pivot[] _pivots = new Pivot[Pivots];
    private int _newest;
    private int _turn;

    /// <inheritdoc/>
    public void OnFault(int space, ulong address)
    {
        // A fault where a pivot is heading moves it on; any other one takes the place of the oldest.
        for (int i = 0; i < Pivots; i++)
        {
            ref Pivot pivot = ref _pivots[i];
            if (pivot.IsSet && pivot.Space == space && address >= pivot.Forward && (address - pivot.Forward) >> PageSize.Shift < PagesPerRun)
            {
                pivot.Forward = address;
                pivot.Fault = address;
                return;
            }
        }

        _newest = (_newest + 1) % Pivots;
        _turn = -1;
        _pivots[_newest] = new Pivot { IsSet = true, Space = space, Fault = address, Forward = address, Backward = address };
    }

    /// <inheritdoc/>
    public bool TryNext(UnsentPages unsent, int maxPages, out int space, out PageRange run)
    {
        _turn++;
        for (int i = 0; i < Pivots; i++)
        {
            // The newest first, then the others by turns.
            ref Pivot pivot = ref _pivots[(_newest + Pivots - ((i + _turn) % Pivots)) % Pivots];
            if (pivot.IsSet && TryAround(unsent, ref pivot, Math.Min(maxPages, PagesPerRun), out run))
            {
                space = pivot.Space;
                return true;
            }
        }

        return _rest.TryNext(unsent, maxPages, out space, out run);
    }

    private static bool TryAround(UnsentPages unsent, ref Pivot pivot, int maxPages, out PageRange run)
    {
        if (pivot.Runs++ % BackwardEvery == BackwardEvery - 1 && TryBackward(unsent, ref pivot, maxPages, out run))
        {
            return true;
        }

        if (unsent.TryFindRun(pivot.Space, pivot.Forward, maxPages, out run) && (run.Start - pivot.Fault) >> PageSize.Shift < Reach)
        {
            pivot.Forward = run.EndExclusive;
            return true;
        }

        pivot.IsSet = false;
        return false;
    }

    private static bool TryBackward(UnsentPages unsent, ref Pivot pivot, int maxPages, out PageRange run)
    {
        ulong step = PageSize.ToBytes((ulong)maxPages);
        if (pivot.Backward >= step && (pivot.Fault - pivot.Backward) >> PageSize.Shift < Reach)
        {
            ulong from = pivot.Backward - step;
            if (unsent.TryFindRun(pivot.Space, from, maxPages, out run) && run.Start < pivot.Backward)
            {
                pivot.Backward = from;
                run = run.Intersect(PageRange.FromBounds(from, from + step));
                return run.PageCount > 0;
            }

            pivot.Backward = from;
        }

        run = default;
        return false;
    }

    private struct Pivot
    {
        internal bool IsSet;
        internal int Space;
        internal int Runs;
        internal ulong Fault;
        internal ulong Forward;
        internal ulong Backward;
    }
}
