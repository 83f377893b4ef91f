using CsCheck;
using PostCopy.Faults;
using PostCopy.Memory;

namespace PostCopy.Tests.Faults;

/// <summary>The ledger against a dictionary from run-time page to dump-time page, under generated lives of an address space.</summary>
public sealed class OwedPagesTests
{
    private const ulong Base = 0x7f00_0000_0000;
    private const int ArenaPages = 400;

    private enum Deed
    {
        Remove,
        Unmap,
        Move,
        MoveWithLateUnmap,
        Install,
        Fork,
    }

    private sealed record Step(Deed Deed, int From, int To, int Pages);

    private static readonly Gen<Step> AnyStep = Gen.Select(
        Gen.Enum<Deed>(), Gen.Int[0, ArenaPages - 1], Gen.Int[0, ArenaPages - 1], Gen.Frequency((3, Gen.Int[1, 8]), (1, Gen.Int[1, 150])),
        (deed, from, to, pages) => new Step(deed, from, to, pages));

    /// <summary>Gaps and lengths of the dump's ranges; a gap of zero makes neighbours.</summary>
    private static readonly Gen<(int Gap, int Pages)[]> AnyRanges = Gen.Select(Gen.Int[0, 20], Gen.Int[1, 70]).Array[0, 8];

    [Fact]
    public void Follows_every_life_as_a_dictionary_does() =>
        Gen.Select(AnyRanges, AnyStep.Array[0, 40]).Sample(
            (ranges, steps) =>
            {
                OwedPages ledger = new(new DumpLayout(Layout(ranges)));
                Dictionary<ulong, ulong> model = Layout(ranges).SelectMany(PagesOf).ToDictionary(page => page, page => page);
                AssertSame(model, ledger);
                foreach (Step step in steps)
                {
                    Apply(step, model, ref ledger);
                    AssertSame(model, ledger);
                }
            },
            iter: 1000);

    [Fact]
    public void A_clone_and_its_parent_go_separate_ways() =>
        Gen.Select(AnyRanges, AnyStep.Array[0, 10], AnyStep.Array[1, 10], AnyStep.Array[1, 10]).Sample(
            (ranges, before, inParent, inChild) =>
            {
                OwedPages parent = new(new DumpLayout(Layout(ranges)));
                Dictionary<ulong, ulong> parentModel = Layout(ranges).SelectMany(PagesOf).ToDictionary(page => page, page => page);
                Array.ForEach(before, step => Apply(step, parentModel, ref parent));
                OwedPages child = parent.Clone();
                Dictionary<ulong, ulong> childModel = new(parentModel);
                Array.ForEach(inParent, step => Apply(step, parentModel, ref parent));
                Array.ForEach(inChild, step => Apply(step, childModel, ref child));
                AssertSame(parentModel, parent);
                AssertSame(childModel, child);
            },
            iter: 1000);

    [Fact]
    public void Odd_ranges_from_events_never_throw() =>
        Gen.Select(Gen.Enum<Deed>(), Gen.ULong, Gen.ULong, Gen.ULong).Sample((deed, first, second, third) =>
        {
            OwedPages ledger = new(new DumpLayout([new PageRange(Base, 10)]));
            _ = deed switch
            {
                Deed.Remove => ledger.Remove(first, second),
                Deed.Unmap => ledger.Unmap(first, second),
                _ => ledger.Move(first, second, third),
            };
            _ = ledger.TryFind(first, out _);
            _ = ledger.PagesToNextOwed(PageSize.AlignDown(first), 64);
            Assert.True(ledger.Remaining is >= 0 and <= 10);
        });

    [Fact]
    public void The_whole_address_space_can_be_dropped_at_once()
    {
        OwedPages ledger = new(new DumpLayout([new PageRange(Base, 10), new PageRange(Base + (1UL << 40), 10)]));
        Assert.Equal(20, ledger.Remove(0, ulong.MaxValue));
        Assert.Equal(0, ledger.Remaining);
    }

    [Fact]
    public void A_range_is_filled_when_the_dump_owed_all_of_it_in_one_piece_and_nothing_is_owed()
    {
        OwedPages ledger = new(new DumpLayout([new PageRange(Base, 8), new PageRange(Base + PageSize.ToBytes(8), 8)]));
        Assert.False(ledger.IsFilled(Base, 8));
        for (ulong page = 0; page < 16; page++)
        {
            Assert.False(ledger.IsFilled(Base, 8) && page < 8);
            ulong address = Base + PageSize.ToBytes(page);
            Assert.True(ledger.TryNext(address, address + (ulong)PageSize.Bytes, 1, out OwedRun run));
            _ = ledger.MarkInstalled(run);
        }

        Assert.True(ledger.IsFilled(Base, 8));
        Assert.True(ledger.IsFilled(Base + PageSize.ToBytes(8), 8));
        Assert.False(ledger.IsFilled(Base + PageSize.ToBytes(4), 8), "two mappings");
        Assert.False(ledger.IsFilled(Base - PageSize.ToBytes(1), 8), "what lies before was never owed");
        Assert.False(ledger.IsFilled(Base + PageSize.ToBytes(9), 8), "nor what lies behind");
    }

    [Fact]
    public void A_range_that_moves_before_it_is_filled_is_filled_where_it_is_then()
    {
        const ulong Far = Base + (1UL << 30);
        OwedPages ledger = new(new DumpLayout([new PageRange(Base, 8)]));
        _ = ledger.Move(Base, Far, PageSize.ToBytes(8));
        Assert.False(ledger.IsFilled(Far, 8));
        Assert.True(ledger.TryNext(Base, Base + PageSize.ToBytes(8), 8, out OwedRun run));
        _ = ledger.MarkInstalled(run);
        Assert.True(ledger.IsFilled(Far, 8));
        Assert.False(ledger.IsFilled(Base, 8));
    }

    [Fact]
    public void Gigabytes_are_counted_in_64_bits_and_kept_in_half_a_megabyte()
    {
        ulong pages = PageSize.PagesIn(8UL << 30);
        long before = GC.GetAllocatedBytesForCurrentThread();
        OwedPages ledger = new(new DumpLayout([new PageRange(Base, pages)]));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 600_000);
        ulong far = Base + (1UL << 42);
        Assert.Equal(0, ledger.Move(Base, far, PageSize.ToBytes(pages)));
        Assert.True(ledger.TryFind(far + PageSize.ToBytes(pages - 1), out OwedRun last));
        Assert.Equal(Base + PageSize.ToBytes(pages - 1), last.DumpTime);
        Assert.Equal((long)pages - 1, ledger.Remove(far, far + PageSize.ToBytes(pages - 1)));
        Assert.Equal(1, ledger.Remaining);
    }

    [Fact]
    public void Lookups_and_marks_allocate_nothing()
    {
        OwedPages ledger = new(new DumpLayout([new PageRange(Base, 1000)]));
        Use(ledger, 0);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Use(ledger, 100);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());

        static void Use(OwedPages ledger, ulong page)
        {
            ulong address = Base + PageSize.ToBytes(page);
            _ = ledger.TryFind(address, out _);
            _ = ledger.PagesToNextOwed(address, 64);
            _ = ledger.TryNext(address, address + PageSize.ToBytes(32), 32, out OwedRun run);
            _ = ledger.MarkInstalled(run);
            _ = ledger.Remove(address + PageSize.ToBytes(40), address + PageSize.ToBytes(50));
        }
    }

    [Fact]
    public void Installers_that_race_for_the_same_pages_find_whole_runs_and_count_each_page_once()
    {
        const ulong Pages = 2_000_000;
        OwedPages ledger = new(new DumpLayout([new PageRange(Base, Pages)]));
        long struck = 0, empty = 0;
        using Barrier start = new(2);
        Thread[] installers = [.. Enumerable.Range(0, 2).Select(_ => new Thread(() =>
        {
            start.SignalAndWait();
            ulong end = Base + PageSize.ToBytes(Pages);
            for (ulong position = Base; ledger.TryNext(position, end, maxPages: 3, out OwedRun run); position = run.DumpTimeEnd)
            {
                Interlocked.Add(ref empty, run.PageCount == 0 ? 1 : 0);
                Interlocked.Add(ref struck, ledger.MarkInstalled(run));
            }
        }))];
        Array.ForEach(installers, installer => installer.Start());
        Array.ForEach(installers, installer => installer.Join());
        Assert.Equal(0, empty);
        Assert.Equal((long)Pages, struck);
        Assert.Equal(0, ledger.Remaining);
    }

    [Fact]
    public void After_MREMAP_DONTUNMAP_the_old_range_may_be_moved_into_and_unmapped()
    {
        OwedPages ledger = new(new DumpLayout([new PageRange(Base, 10), new PageRange(Page(20), 10)]));
        ledger.Move(Base, Page(100), PageSize.ToBytes(10));
        Assert.Equal(0, ledger.Unmap(Base, Page(10)));
        ledger.Move(Page(20), Base, PageSize.ToBytes(10));
        ledger.Unmap(Page(20), Page(30));
        Assert.Equal(20, ledger.Remaining);
        Assert.Equal(10, ledger.Unmap(Base, Page(10)));
        Assert.Equal(10, ledger.Remaining);
    }

    /// <summary>Two threads move one after the other, and are heard in the other order: the second one's destination is what the first one has left.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_move_that_is_heard_before_the_one_that_made_room_for_it_waits(bool allInstalled)
    {
        OwedPages ledger = new(new DumpLayout([new PageRange(Base, 10), new PageRange(Page(20), 10), new PageRange(Page(40), 10)]));
        if (allInstalled)
        {
            // What is mapped and complete is moved as well: where it was is free for others only behind that.
            Assert.True(ledger.TryNext(Base, Page(10), 10, out OwedRun first));
            ledger.MarkInstalled(first);
        }

        long remaining = ledger.Remaining;
        // What they did: 0 -> 100, 20 -> 0, 40 -> 20.
        Assert.Equal(0, ledger.Move(Page(40), Page(20), PageSize.ToBytes(10)));
        Assert.Equal(0, ledger.Move(Page(20), Base, PageSize.ToBytes(10)));
        Assert.Equal(0, ledger.Unmap(Page(40), Page(50)));
        Assert.Equal(0, ledger.Unmap(Page(20), Page(30)));
        Assert.Equal(0, ledger.Move(Base, Page(100), PageSize.ToBytes(10)));
        Assert.Equal(0, ledger.Unmap(Base, Page(10)));
        Assert.Equal(remaining, ledger.Remaining);
        Assert.True(ledger.TryFind(Base, out OwedRun page));
        Assert.Equal(Page(20), page.DumpTime);
        Assert.True(ledger.TryFind(Page(29), out page));
        Assert.Equal(Page(49), page.DumpTime);
        Assert.Equal(!allInstalled, ledger.TryFind(Page(100), out page));
        Assert.True(allInstalled || page.DumpTime == Base);
        Assert.False(ledger.TryFind(Page(40), out _));
    }

    [Fact]
    public void An_unmapping_that_is_heard_behind_the_move_into_the_hole_takes_what_was_there_before()
    {
        OwedPages ledger = new(new DumpLayout([new PageRange(Base, 10), new PageRange(Page(20), 10)]));
        Assert.Equal(0, ledger.Move(Page(20), Page(5), PageSize.ToBytes(5)));
        // Given up where they are now, while nothing says yet that the others have gone.
        Assert.Equal(2, ledger.Remove(Page(8), Page(20)));
        Assert.Equal(10, ledger.Unmap(Base, Page(10)));
        Assert.Equal(0, ledger.Unmap(Page(20), Page(25)));
        Assert.Equal(8, ledger.Remaining);
        Assert.True(ledger.TryFind(Page(5), out OwedRun page));
        Assert.Equal(Page(20), page.DumpTime);
        Assert.False(ledger.TryFind(Page(8), out _));
        Assert.True(ledger.TryFind(Page(25), out page));
        Assert.Equal(Page(25), page.DumpTime);
    }

    [Theory]
    [InlineData(1, 0, 1)]
    [InlineData(4096, 8192, 0)]
    public void A_layout_out_of_order_or_unaligned_is_refused(ulong first, ulong second, ulong pages) =>
        Assert.Throws<ArgumentException>(() => new DumpLayout([new PageRange(second, 1 + pages), new PageRange(first, 1)]));

    private static void Apply(Step step, Dictionary<ulong, ulong> model, ref OwedPages ledger)
    {
        ulong start = Page(step.From);
        ulong end = Page(step.From + step.Pages);
        ulong to = Page(step.To);
        ulong bytes = end - start;
        switch (step.Deed)
        {
            case Deed.Remove:
                Assert.Equal(Strike(model, start, end), ledger.Remove(start, end));
                break;
            case Deed.Unmap:
                Assert.Equal(Strike(model, start, end), ledger.Unmap(start, end));
                break;
            case Deed.Move:
                if (Overlap(start, to, bytes))
                {
                    break;
                }

                // What a move replaces is reported as unmapped before it.
                Assert.Equal(Strike(model, to, to + bytes), ledger.Unmap(to, to + bytes));
                Assert.Equal(Move(model, start, to, bytes), ledger.Move(start, to, bytes));
                if (start != to)
                {
                    // The kernel's own UNMAP of the range that was left.
                    Assert.Equal(0, ledger.Unmap(start, end));
                }

                break;
            case Deed.MoveWithLateUnmap:
                // Another thread moves pages into the range just left before its UNMAP event is read.
                if (Overlap(start, to, bytes))
                {
                    break;
                }

                ulong third = Page(2 * ArenaPages);
                Assert.Equal(Strike(model, third, third + bytes), ledger.Unmap(third, third + bytes));
                Assert.Equal(Move(model, start, third, bytes), ledger.Move(start, third, bytes));
                Assert.Equal(Move(model, to, start, bytes), ledger.Move(to, start, bytes));
                Assert.Equal(0, ledger.Unmap(start, end));
                Assert.Equal(0, ledger.Unmap(to, to + bytes));
                Assert.Equal(Move(model, third, to, bytes), ledger.Move(third, to, bytes));
                Assert.Equal(0, ledger.Unmap(third, third + bytes));
                break;
            case Deed.Install:
                // Dump-time addresses: the same arena, as nothing has moved there.
                ulong position = start;
                while (ledger.TryNext(position, end, maxPages: 5, out OwedRun run))
                {
                    Assert.InRange(run.PageCount, 1, 5);
                    Assert.Equal(run.PageCount, ledger.MarkInstalled(run));
                    Assert.Equal(0, ledger.MarkInstalled(run));
                    foreach (ulong offset in PagesOf(new PageRange(0, (ulong)run.PageCount)))
                    {
                        Assert.True(model.Remove(run.RunTime + offset, out ulong dumpTime));
                        Assert.Equal(run.DumpTime + offset, dumpTime);
                    }

                    position = run.DumpTimeEnd;
                }

                Assert.DoesNotContain(model.Values, dumpTime => dumpTime >= start && dumpTime < end);
                break;
            case Deed.Fork:
                ledger = ledger.Clone();
                break;
        }
    }

    private static void AssertSame(Dictionary<ulong, ulong> model, OwedPages ledger)
    {
        Assert.Equal(model.Count, ledger.Remaining);
        long distance = 64;
        for (int i = 3 * ArenaPages; i >= 0; i--)
        {
            ulong address = Page(i);
            bool owed = model.TryGetValue(address, out ulong dumpTime);
            distance = owed ? 0 : Math.Min(distance + 1, 64);
            bool same = ledger.TryFind(address + 123, out OwedRun page) == owed
                && (!owed || (page.RunTime == address && page.DumpTime == dumpTime && page.PageCount == 1))
                && ledger.PagesToNextOwed(address, 64) == distance;
            if (!same)
            {
                Assert.Fail($"page {i}: owed {owed}, dump time {dumpTime:x}, distance {distance}; the ledger says {page}, {ledger.PagesToNextOwed(address, 64)}");
            }
        }
    }

    /// <summary>No kernel moves to where it moves from.</summary>
    private static bool Overlap(ulong from, ulong to, ulong bytes) => from < to + bytes && to < from + bytes;

    private static long Strike(Dictionary<ulong, ulong> model, ulong start, ulong end) =>
        PagesOf(PageRange.FromBounds(start, end)).Count(page => model.Remove(page));

    private static long Move(Dictionary<ulong, ulong> model, ulong from, ulong to, ulong bytes)
    {
        if (from == to)
        {
            return 0;
        }

        List<(ulong Page, ulong DumpTime)> moved = [];
        foreach (ulong page in PagesOf(PageRange.FromBounds(from, from + bytes)))
        {
            if (model.Remove(page, out ulong dumpTime))
            {
                moved.Add((page - from + to, dumpTime));
            }
        }

        long replaced = Strike(model, to, to + bytes);
        moved.ForEach(page => model.Add(page.Page, page.DumpTime));
        return replaced;
    }

    private static List<PageRange> Layout((int Gap, int Pages)[] ranges)
    {
        List<PageRange> layout = [];
        ulong next = Base;
        foreach ((int gap, int pages) in ranges)
        {
            layout.Add(new PageRange(next + PageSize.ToBytes((ulong)gap), (ulong)pages));
            next = layout[^1].EndExclusive;
        }

        return layout;
    }

    private static ulong Page(int number) => Base + PageSize.ToBytes((ulong)number);

    private static IEnumerable<ulong> PagesOf(PageRange range)
    {
        for (ulong page = 0; page < range.PageCount; page++)
        {
            yield return range.Start + PageSize.ToBytes(page);
        }
    }
}
