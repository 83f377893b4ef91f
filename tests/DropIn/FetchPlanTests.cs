using CsCheck;
using PostCopy.LazyPages;
using PostCopy.Memory;

namespace PostCopy.Tests.DropIn;

public sealed class FetchPlanTests
{
    private static readonly ImagePid A = new(1);
    private static readonly ImagePid B = new(2);

    [Fact]
    public void Quiet_bulk_asks_for_whole_entries_in_order()
    {
        FetchPlan plan = Plan(A, [new(At(0), 1019), new(At(1019), 1024), new(At(5000), 3)]);
        Assert.Equal([new(At(0), 1019), new(At(1019), 1024), new(At(5000), 3)], Bulk(plan));
    }

    [Fact]
    public void Before_the_restore_is_finished_only_the_fault_itself_is_asked_for()
    {
        FetchPlan plan = new([new(A, [new PageRange(At(0), 100)])]);
        plan.OnFault(A, At(21));
        Assert.True(plan.TryNextUrgent(out _, out PageRange range));
        Assert.Equal(new PageRange(At(21), 1), range);
        Assert.False(plan.TryNextUrgent(out _, out _));
        Assert.False(plan.TryNextBulk(out _, out _));
    }

    [Fact]
    public void A_fault_brings_its_aligned_neighbours_that_were_not_asked_for()
    {
        FetchPlan plan = Plan(A, [new(At(0), 100)]);
        plan.OnFault(A, At(21));
        plan.OnFault(A, At(22));
        Assert.True(plan.TryNextUrgent(out _, out PageRange range));
        Assert.Equal(new PageRange(At(16), 16), range);
        Assert.False(plan.TryNextUrgent(out _, out _));
    }

    [Fact]
    public void The_bulk_goes_on_behind_the_fault_in_small_steps_and_comes_round()
    {
        FetchPlan plan = Plan(A, [new(At(0), 1024)]);
        plan.OnFault(A, At(512));
        Assert.True(plan.TryNextUrgent(out _, out PageRange fault));
        Assert.Equal(new PageRange(At(512), 16), fault);
        Assert.Equal([new(At(528), 128), new(At(656), 256), new(At(912), 112), new(At(0), 512)], Bulk(plan));
    }

    [Fact]
    public void A_rest_comes_before_the_bulk_and_behind_faults()
    {
        FetchPlan plan = Plan(A, [new(At(0), 100)]);
        plan.ComeBackTo(A, new PageRange(At(1000), 4));
        plan.OnFault(A, At(0));
        Assert.True(plan.TryNextUrgent(out _, out PageRange first));
        Assert.True(plan.TryNextUrgent(out _, out PageRange second));
        Assert.Equal((At(0), At(1000)), (first.Start, second.Start));
    }

    [Fact]
    public void Nothing_is_fetched_for_a_process_that_is_gone()
    {
        FetchPlan plan = new([new(A, [new PageRange(At(0), 10)]), new(B, [new PageRange(At(0), 10)])]) { BulkAllowed = true };
        plan.Abandon(A);
        Assert.True(plan.TryNextBulk(out ImagePid pid, out _));
        Assert.Equal(B, pid);
        Assert.False(plan.TryNextBulk(out _, out _));
    }

    [Fact]
    public void Whatever_faults_come_every_page_is_asked_for_exactly_once() => Gen.Int[0, 499].Array[0, 60].Sample(faults =>
    {
        PageRange[] owed = [new(At(0), 130), new(At(130), 70), new(At(300), 1), new(At(400), 100)];
        FetchPlan plan = new([new(A, owed), new(B, owed)]) { BulkAllowed = true };
        Dictionary<(ImagePid, ulong), int> asked = [];
        int next = 0;
        bool more = true;
        while (more)
        {
            if (next < faults.Length)
            {
                plan.OnFault(next % 2 == 0 ? A : B, At((ulong)faults[next]));
                next++;
            }

            more = plan.TryNextUrgent(out ImagePid pid, out PageRange range) || plan.TryNextBulk(out pid, out range);
            for (ulong page = 0; more && page < range.PageCount; page++)
            {
                (ImagePid, ulong) key = (pid, range.Start + PageSize.ToBytes(page));
                asked[key] = asked.GetValueOrDefault(key) + 1;
            }
        }

        Assert.Equal(602, asked.Count);
        Assert.All(asked.Values, static times => Assert.Equal(1, times));
    });

    private static FetchPlan Plan(ImagePid pid, PageRange[] ranges) => new([new(pid, ranges)]) { BulkAllowed = true };

    private static List<PageRange> Bulk(FetchPlan plan)
    {
        List<PageRange> all = [];
        while (plan.TryNextBulk(out _, out PageRange range))
        {
            all.Add(range);
        }

        return all;
    }

    private static ulong At(ulong page) => 0x7000_0000_0000 + PageSize.ToBytes(page);
}
