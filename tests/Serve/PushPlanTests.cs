using PostCopy.Memory;
using PostCopy.Serve;

namespace PostCopy.Tests.Serve;

/// <summary>A page leaves once, demanded or pushed; only a page demanded behind its push leaves twice.</summary>
public sealed class PushPlanTests
{
    private static readonly ImagePid First = new(1);
    private static readonly ImagePid Second = new(7);

    [Fact]
    public void Pushes_everything_once_except_what_was_demanded()
    {
        PushPlan plan = Make();
        Assert.True(plan.TryDemand(First, new PageRange(0x2000, 1)));
        List<(ImagePid, PageRange)> pushed = [];
        while (plan.TryTake(256, out ImagePid pid, out PageRange run))
        {
            pushed.Add((pid, run));
        }

        Assert.Equal([(First, new PageRange(0x1000, 1)), (First, new PageRange(0x3000, 2)), (Second, new PageRange(0x1000, 2))], pushed);
        Assert.Equal((0UL, 1UL, 0UL), plan.Counters);
    }

    [Fact]
    public void A_page_demanded_behind_its_push_is_answered_again()
    {
        PushPlan plan = Make();
        Assert.True(plan.TryTake(256, out _, out PageRange run));
        Assert.True(plan.TryDemand(First, new PageRange(run.Start, 1)));
        Assert.Equal(1UL, plan.Counters.Resent);
    }

    [Fact]
    public void Refuses_what_was_never_owed()
    {
        PushPlan plan = Make();
        Assert.False(plan.TryDemand(new ImagePid(2), new PageRange(0x1000, 1)));
        Assert.False(plan.TryDemand(First, new PageRange(0x5000, 1)));
        Assert.False(plan.TryDemand(First, new PageRange(0x4000, 2)));
    }

    private static PushPlan Make() => new(
        new UnsentPages([new(First, [new PageRange(0x1000, 4)]), new(Second, [new PageRange(0x1000, 2)])]),
        new SequentialPolicy());
}
