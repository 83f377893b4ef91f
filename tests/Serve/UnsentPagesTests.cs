using CsCheck;
using PostCopy.Memory;
using PostCopy.Serve;

namespace PostCopy.Tests.Serve;

/// <summary>The bitmap of unsent pages against a plain set of addresses.</summary>
public sealed class UnsentPagesTests
{
    private static readonly ImagePid Pid = new(1);

    [Fact]
    public void Runs_come_in_order_and_end_at_the_border_of_a_range()
    {
        UnsentPages unsent = Make(Range(0x1000, 3), Range(0x4000, 2), Range(0x10000, 300));
        List<PageRange> runs = [];
        ulong from = 0;
        while (unsent.TryFindRun(0, from, 256, out PageRange run))
        {
            runs.Add(run);
            unsent.MarkSent(0, run);
            from = run.EndExclusive;
        }

        Assert.Equal([Range(0x1000, 3), Range(0x4000, 2), Range(0x10000, 256), Range(0x110000, 44)], runs);
        Assert.Equal(0UL, unsent.Remaining);
    }

    [Fact]
    public void Owes_only_what_lies_in_one_owed_range()
    {
        UnsentPages unsent = Make(Range(0x1000, 2), Range(0x3000, 2));
        Assert.True(unsent.Owes(0, Range(0x1000, 2)));
        Assert.True(unsent.Owes(0, Range(0x4000, 1)));
        Assert.False(unsent.Owes(0, Range(0x2000, 2)));
        Assert.False(unsent.Owes(0, Range(0x5000, 1)));
        Assert.False(unsent.Owes(0, new PageRange(0x1000, 1UL << 40)));
    }

    [Fact]
    public void Behaves_as_a_set_of_addresses()
    {
        Gen<(int Gap, int Pages)[]> ranges = Gen.Select(Gen.Int[0, 3], Gen.Int[1, 200]).Array[1, 8];
        Gen<(bool Find, int Page, int Count)[]> operations = Gen.Select(Gen.Bool, Gen.Int[0, 1700], Gen.Int[1, 256]).Array[1, 60];
        Gen.Select(ranges, operations).Sample((shape, steps) =>
        {
            List<PageRange> owed = [];
            ulong next = 0x1000;
            foreach ((int gap, int pages) in shape)
            {
                next += (ulong)gap << PageSize.Shift;
                owed.Add(new PageRange(next, (ulong)pages));
                next = owed[^1].EndExclusive;
            }

            UnsentPages unsent = Make([.. owed]);
            SortedSet<ulong> model = [.. owed.SelectMany(static range => Pages(range))];
            foreach ((bool find, int page, int count) in steps)
            {
                ulong address = (ulong)page << PageSize.Shift;
                if (find)
                {
                    bool found = unsent.TryFindRun(0, address, count, out PageRange run);
                    ulong first = model.GetViewBetween(address, ulong.MaxValue).FirstOrDefault();
                    Assert.Equal(first != 0, found);
                    if (found)
                    {
                        Assert.Equal(first, run.Start);
                        Assert.All(Pages(run), p => Assert.Contains(p, model));
                        PageRange holder = owed.Single(range => range.Contains(first));
                        bool couldBeLonger = run.PageCount < (ulong)count && run.EndExclusive < holder.EndExclusive && model.Contains(run.EndExclusive);
                        Assert.False(couldBeLonger);
                    }
                }
                else if (owed.Find(range => range.Contains(address)) is { PageCount: > 0 } holder)
                {
                    PageRange range = new PageRange(address, (ulong)count).Intersect(holder);
                    ulong expected = (ulong)Pages(range).Count(model.Remove);
                    Assert.Equal(expected, unsent.MarkSent(0, range));
                }

                Assert.Equal((ulong)model.Count, unsent.Remaining);
            }
        });
    }

    private static IEnumerable<ulong> Pages(PageRange range)
    {
        for (ulong i = 0; i < range.PageCount; i++)
        {
            yield return range.Start + (i << PageSize.Shift);
        }
    }

    private static PageRange Range(ulong start, ulong pages) => new(start, pages);

    private static UnsentPages Make(params PageRange[] ranges) => new([new(Pid, ranges)]);
}
