using CsCheck;
using PostCopy.Memory;
using PostCopy.PreCopy;

namespace PostCopy.Tests.PreCopy;

/// <summary>Against a model that keeps a record for each page.</summary>
public sealed class PageHistoryTests
{
    private const int Pages = 1500;
    private static readonly ImagePid Pid = new(7);
    private static readonly ulong Base = 0x7f00_0010_3000;

    private static readonly Gen<(int Kind, int First, int Count)[]> Steps =
        Gen.Select(Gen.Int[0, 3], Gen.Int[0, Pages - 1], Gen.Int[1, 700]).Array[1, 60];

    [Fact]
    public void A_page_counts_as_there_only_while_nothing_happened_to_it() => Steps.Sample(steps =>
    {
        PageHistory history = new();
        bool[] staged = new bool[Pages];
        bool[] known = new bool[Pages];
        int round = 1;
        foreach ((int kind, int first, int wanted) in steps)
        {
            int count = Math.Min(wanted, Pages - first);
            PageRange range = Range(first, count);
            switch (kind)
            {
                case 0:
                    history.Written(Pid, range, round++);
                    Mark(staged, first, count, false);
                    Mark(known, first, count, true);
                    break;
                case 1:
                    history.Staged(Pid, range);
                    for (int page = first; page < first + count; page++)
                    {
                        // Regions are made by what was written; pages are only ever sent after that.
                        staged[page] |= known[page];
                    }

                    break;
                case 2:
                    history.Forget(Pid, range);
                    Mark(staged, first, count, false);
                    break;
                default:
                    break;
            }
        }

        List<PageRange> found = [];
        history.StagedIn(Pid, Range(0, Pages), found);
        bool[] actual = new bool[Pages];
        found.ForEach(run => Mark(actual, (int)((run.Start - Base) >> PageSize.Shift), (int)run.PageCount, true));
        // What is there may be less than the model's: regions that nobody wrote to do not exist. Never more.
        return !actual.Where((there, page) => there && !staged[page] && known[page]).Any() && !known.Where((k, page) => k && staged[page] && !actual[page]).Any();
    });

    [Fact]
    public void A_page_written_in_every_round_is_left_for_later_and_copied_when_it_rests()
    {
        PageHistory history = new();
        for (int round = 1; round <= 3; round++)
        {
            history.Written(Pid, Range(0, 10), round);
            if (round == 1)
            {
                history.Written(Pid, Range(10, 90), round);
            }

            List<KeyValuePair<ImagePid, PageRange>> copy = history.ToCopy();
            Assert.Equal(round == 1 ? 100UL : round == 2 ? 10UL : 0, copy.Aggregate(0UL, static (sum, run) => sum + run.Value.PageCount));
            copy.ForEach(run => history.Staged(run.Key, run.Value));
        }

        Assert.Equal(10UL, history.HotPages);
        history.Written(Pid, Range(0, 4), 4);
        Assert.Equal([KeyValuePair.Create(Pid, Range(4, 6))], history.ToCopy());
        Assert.Equal(4UL, history.HotPages);
        Assert.True(history.HeatOf(Pid, Base) > history.HeatOf(Pid, Range(5, 1).Start));
        Assert.Equal(0, history.HeatOf(Pid, Range(50, 1).Start));
    }

    [Fact]
    public void A_page_that_came_late_or_rested_once_is_hot_after_three_rounds_in_a_row()
    {
        PageHistory history = new();
        List<KeyValuePair<ImagePid, PageRange>> copy = [];
        for (int round = 1; round <= 300; round++)
        {
            // The first ten rest in round 290 alone, the others come in round 298.
            if (round != 290)
            {
                history.Written(Pid, Range(0, 10), round);
            }

            if (round >= 298)
            {
                history.Written(Pid, Range(20, 5), round);
            }

            copy = history.ToCopy();
            copy.ForEach(run => history.Staged(run.Key, run.Value));
            Assert.Equal(round is < 3 or 290 or 291 or 292 ? 0UL : round < 300 ? 10UL : 15UL, history.HotPages);
        }

        Assert.Empty(copy);
    }

    [Fact]
    public void What_is_gone_is_not_to_copy()
    {
        PageHistory history = new();
        history.Written(Pid, Range(0, 10), 1);
        history.Staged(Pid, Range(0, 5));
        history.Forget(Pid, Range(5, 4));
        Assert.Equal([KeyValuePair.Create(Pid, Range(9, 1))], history.ToCopy());
    }

    private static PageRange Range(int first, int count) => new(Base + PageSize.ToBytes((ulong)first), (ulong)count);

    private static void Mark(bool[] pages, int first, int count, bool value) => Array.Fill(pages, value, first, count);
}
