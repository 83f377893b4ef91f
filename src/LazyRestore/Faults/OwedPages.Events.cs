using PostCopy.Memory;

namespace PostCopy.Faults;

/// <content>What the address space does to itself: madvise, munmap, mremap.</content>
internal sealed partial class OwedPages
{
    /// <summary>
    /// Ranges that mremap left, whose own UNMAP event is still to come. The kernel reports `REMAP old to new` and `UNMAP old` as two events; between
    /// them another thread may mremap pages into the range just freed, and the late UNMAP must not strike those. MREMAP_DONTUNMAP leaves an entry
    /// that is never called for, hence the bound.
    /// </summary>
    private readonly List<(ulong Start, ulong End)> _vacated = [];

    private const int MaxVacated = 64;

    /// <summary>
    /// Moves whose destination is not free yet. The kernel lets go of the address space's lock before it queues an event, so of two threads the one that came
    /// later may be heard first: it moves pages to where another one has just unmapped or moved something, which is not known yet. (A destination that the move
    /// itself replaces is reported as unmapped first.) Until the other event is read the kernel takes no page for this address space (EAGAIN), so nothing can be
    /// put where it does not belong meanwhile.
    /// </summary>
    private readonly List<(ulong From, ulong To, ulong ByteCount)> _early = [];

    private const int MaxEarly = 64;

    /// <summary>REMOVE: the task gave the contents of a range up (MADV_DONTNEED and its like). Returns how many owed pages that were.</summary>
    public long Remove(ulong start, ulong end)
    {
        Clamp(ref start, ref end);
        foreach ((ulong from, ulong to, ulong byteCount) in _early)
        {
            ulong first = Math.Max(start, to), last = Math.Min(end, to + byteCount);
            if (first < last)
            {
                // What is there by now is what this move brought.
                return StrikeRunTime(first - to + from, last - to + from) + Remove(start, first) + Remove(last, end);
            }
        }

        return StrikeRunTime(start, end);
    }

    /// <summary>UNMAP: the range is no longer mapped. Returns how many owed pages that were.</summary>
    public long Unmap(ulong start, ulong end)
    {
        Clamp(ref start, ref end);
        if (_vacated.Remove((start, end)))
        {
            return 0;
        }

        _vacated.RemoveAll(vacated => vacated.Start < end && start < vacated.End);
        return StrikeRunTime(start, end, _mapped) + MoveEarlyOnes();
    }

    /// <summary>
    /// REMAP: what was at <paramref name="from"/> is now at <paramref name="to"/>. Returns how many owed pages were replaced there: none but in a forked child,
    /// of which it is not known what it has mapped.
    /// </summary>
    public long Move(ulong from, ulong to, ulong byteCount)
    {
        byteCount = PageSize.AlignDown(byteCount);
        if (byteCount == 0 || from == to || !PageSize.IsAligned(from) || !PageSize.IsAligned(to)
            || byteCount > ulong.MaxValue - from || byteCount > ulong.MaxValue - to)
        {
            return 0;
        }

        if (_vacated.Count == MaxVacated)
        {
            _vacated.RemoveAt(0);
        }

        _vacated.Add((from, from + byteCount));
        if (_early.Count < MaxEarly && IsAnyMapped(to, to + byteCount))
        {
            _early.Add((from, to, byteCount));
            return 0;
        }

        return MoveNow(from, to, byteCount) + MoveEarlyOnes();
    }

    private long MoveNow(ulong from, ulong to, ulong byteCount)
    {
        List<OwedRun> moved = CutOut(from, from + byteCount, to);
        long replaced = StrikeRunTime(to, to + byteCount);
        if (moved.Count > 0)
        {
            Place(moved, to, to + byteCount);
        }

        return replaced;
    }

    /// <summary>Those for which the destination has become free, and those for which that makes one free.</summary>
    private long MoveEarlyOnes()
    {
        long replaced = 0;
        for (int i = 0; i < _early.Count;)
        {
            (ulong from, ulong to, ulong byteCount) = _early[i];
            if (IsAnyMapped(to, to + byteCount))
            {
                i++;
                continue;
            }

            _early.RemoveAt(i);
            replaced += MoveNow(from, to, byteCount);
            i = 0;
        }

        return replaced;
    }

    /// <summary>Takes the runs with pages that are mapped, or owed, in [start, end) out of the run-time order and returns them as they will be at <paramref name="to"/>.</summary>
    private List<OwedRun> CutOut(ulong start, ulong end, ulong to)
    {
        List<OwedRun> moved = [];
        int first = Math.Max(LastAtOrBelow(_byRunTime, start), 0);
        for (int i = first; i < _byRunTime.Length && _byRunTime[i].RunTime < end; i++)
        {
            OwedRun part = _byRunTime[i].Within(start, end);
            if (_mapped is null ? IsAnyOwed(part) : IsAnyMapped(part))
            {
                moved.Add(part with { RunTime = part.RunTime - start + to });
            }
        }

        if (moved.Count > 0)
        {
            _byRunTime = Without(start, end);
        }

        return moved;
    }

    /// <summary>Puts runs into [start, end), in place of all that is there.</summary>
    private void Place(List<OwedRun> runs, ulong start, ulong end)
    {
        OwedRun[] others = Without(start, end);
        int position = LastAtOrBelow(others, start) + 1;
        _byRunTime = [.. others.AsSpan(0, position), .. runs, .. others.AsSpan(position)];
        _byDumpTime = (OwedRun[])_byRunTime.Clone();
        Array.Sort(_byDumpTime, static (left, right) => left.Index.CompareTo(right.Index));
    }

    /// <summary>The runs in run-time order, with [start, end) cut out of those that reach into it.</summary>
    private OwedRun[] Without(ulong start, ulong end)
    {
        List<OwedRun> kept = new(_byRunTime.Length + 1);
        foreach (OwedRun run in _byRunTime)
        {
            if (run.RunTimeEnd <= start || run.RunTime >= end)
            {
                kept.Add(run);
                continue;
            }

            OwedRun before = run.Within(0, start);
            OwedRun after = run.Within(end, ulong.MaxValue);
            if (before.PageCount > 0)
            {
                kept.Add(before);
            }

            if (after.PageCount > 0)
            {
                kept.Add(after);
            }
        }

        return [.. kept];
    }

    /// <param name="start">The first address.</param>
    /// <param name="end">The address behind the last.</param>
    /// <param name="alsoFrom">What else the pages are struck from.</param>
    private long StrikeRunTime(ulong start, ulong end, PageBitmap? alsoFrom = null)
    {
        long struck = 0;
        for (int i = Math.Max(LastAtOrBelow(_byRunTime, start), 0); i < _byRunTime.Length && _byRunTime[i].RunTime < end; i++)
        {
            OwedRun part = _byRunTime[i].Within(start, end);
            struck += Strike(part);
            alsoFrom?.ClearRange(part.Index, part.PageCount);
        }

        return struck;
    }

    /// <summary>False as well where it is not known.</summary>
    private bool IsAnyMapped(ulong start, ulong end)
    {
        for (int i = Math.Max(LastAtOrBelow(_byRunTime, start), 0); i < _byRunTime.Length && _byRunTime[i].RunTime < end; i++)
        {
            if (IsAnyMapped(_byRunTime[i].Within(start, end)))
            {
                return true;
            }
        }

        return false;
    }

    private bool IsAnyMapped(OwedRun run) => _mapped is not null && _mapped.FirstSet(run.Index, run.Index + run.PageCount) < run.Index + run.PageCount;

    /// <summary>Whole pages, and an empty range for one that ends before it starts.</summary>
    private static void Clamp(ref ulong start, ref ulong end)
    {
        start = PageSize.AlignDown(start);
        end = PageSize.IsAligned(end) ? end : PageSize.AlignDown(end) + Math.Min((ulong)PageSize.Bytes, ulong.MaxValue - PageSize.AlignDown(end));
        end = Math.Max(start, end);
    }
}
