using CsCheck;
using PostCopy.Memory;
using PostCopy.Migrate;
using PostCopy.Serve;

namespace PostCopy.Tests.Serve;

/// <summary>What every policy owes: everything is pushed, once, whatever faults come in between. And what each is for.</summary>
public sealed class PrefetchPolicyTests
{
    private static readonly ImagePid First = new(1);
    private static readonly ImagePid Second = new(7);

    [Theory]
    [InlineData(PrefetchPolicy.Sequential)]
    [InlineData(PrefetchPolicy.Neighbours)]
    public void Everything_leaves_once_whatever_faults_come(PrefetchPolicy policy)
    {
        Gen<(int Space, int Page, int Pushes)[]> faults = Gen.Select(Gen.Int[0, 1], Gen.Int[0, 2999], Gen.Int[0, 40]).Array[0, 30];
        faults.Sample(steps =>
        {
            PushPlan plan = new(Owed(), PrefetchPolicies.Create(policy));
            HashSet<(ImagePid, ulong)> sent = [];
            foreach ((int space, int page, int pushes) in steps)
            {
                ImagePid pid = space == 0 ? First : Second;
                PageRange wanted = new(0x10000 + PageSize.ToBytes((ulong)page), 1);
                if (plan.TryDemand(pid, wanted))
                {
                    sent.Add((pid, wanted.Start));
                }

                for (int i = 0; i < pushes && plan.TryTake(256, out ImagePid pushed, out PageRange run); i++)
                {
                    Add(sent, pushed, run);
                }
            }

            while (plan.TryTake(256, out ImagePid pushed, out PageRange run))
            {
                Add(sent, pushed, run);
            }

            Assert.Equal(plan.TotalPages, (ulong)sent.Count);
            Assert.Equal(0UL, plan.Counters.Remaining);
        });
    }

    [Fact]
    public void Neighbours_of_the_latest_fault_go_first()
    {
        PushPlan plan = new(Owed(), new NeighboursPolicy());
        Assert.True(plan.TryDemand(Second, new PageRange(0x10000 + (1000UL << PageSize.Shift), 1)));
        Assert.True(plan.TryTake(256, out ImagePid pid, out PageRange run));
        Assert.Equal(Second, pid);
        Assert.Equal(0x10000 + (1001UL << PageSize.Shift), run.Start);
    }

    [Fact]
    public void None_pushes_nothing()
    {
        PushPlan plan = new(Owed(), new NoPushPolicy());
        Assert.False(plan.TryTake(256, out _, out _));
    }

    // 2,000 pages each, in two ranges with a hole between them.
    private static UnsentPages Owed()
    {
        PageRange[] ranges = [new PageRange(0x10000, 1500), new PageRange(0x10000 + (2500UL << PageSize.Shift), 500)];
        return new UnsentPages([new(First, ranges), new(Second, ranges)]);
    }

    private static void Add(HashSet<(ImagePid, ulong)> sent, ImagePid pid, PageRange run)
    {
        Assert.InRange(run.PageCount, 1UL, 256UL);
        for (ulong i = 0; i < run.PageCount; i++)
        {
            Assert.True(sent.Add((pid, run.Start + (i << PageSize.Shift))), $"page {run.Start + (i << PageSize.Shift):x} of {pid} was pushed although it had been sent");
        }
    }
}
