using CsCheck;
using PostCopy.PreCopy;

namespace PostCopy.Tests.PreCopy;

public sealed class StopRuleTests
{
    private static readonly StopLimits Limits = new(MaxRounds: 10, TimeSpan.FromSeconds(100), TimeSpan.FromMilliseconds(100));

    /// <summary>125 MB/s: 100 ms of it are 3051 pages.</summary>
    private const double GigabitEthernet = 125e6;

    [Fact]
    public void The_first_round_is_always_copied() => Assert.Null(new StopRule(Limits).BeforeRound(1, 1, 0, 0, TimeSpan.Zero));

    [Theory]
    [InlineData(3000, 0, StopReason.LittleLeft)]
    [InlineData(0, 0, StopReason.LittleLeft)]
    [InlineData(3000, 50_000, StopReason.OnlyHotLeft)]
    public void Little_left_is_the_end(ulong pages, ulong hot, object reason)
    {
        StopRule rule = new(Limits);
        rule.BeforeRound(1, 100_000, 0, 0, TimeSpan.Zero);
        Assert.Equal((StopReason)reason, rule.BeforeRound(2, pages, hot, GigabitEthernet, TimeSpan.FromSeconds(1)));
    }

    [Fact]
    public void A_writer_faster_than_the_link_is_given_up_on()
    {
        StopRule rule = new(Limits);
        StopReason? reason = null;
        int round = 0;
        while (reason is null)
        {
            reason = rule.BeforeRound(++round, 100_000, 0, GigabitEthernet, TimeSpan.FromSeconds(round));
        }

        Assert.Equal((4, StopReason.NoProgress), (round, reason));
    }

    [Fact]
    public void One_busy_moment_is_forgiven()
    {
        StopRule rule = new(Limits);
        ulong[] pages = [100_000, 50_000, 60_000, 20_000, 10_000];
        for (int i = 0; i < pages.Length; i++)
        {
            Assert.Null(rule.BeforeRound(i + 1, pages[i], 0, GigabitEthernet, TimeSpan.FromSeconds(i)));
        }
    }

    [Fact]
    public void Rounds_and_time_are_bounded()
    {
        Assert.Equal(StopReason.MaxRounds, new StopRule(Limits).BeforeRound(11, 100_000, 0, GigabitEthernet, TimeSpan.FromSeconds(1)));
        Assert.Equal(StopReason.MaxTime, new StopRule(Limits).BeforeRound(2, 100_000, 0, GigabitEthernet, TimeSpan.FromSeconds(100)));
    }

    /// <summary>Whatever a program does, it ends; and it never ends in the first round.</summary>
    [Fact]
    public void It_always_ends() => Gen.Select(Gen.UInt[0, 300_000].Array[1, 30], Gen.Double[1e3, 1e10]).Sample((pages, rate) =>
    {
        StopRule rule = new(Limits);
        int round = 0;
        StopReason? reason = null;
        while (reason is null && round < 100)
        {
            reason = rule.BeforeRound(++round, pages[round % pages.Length], 0, rate, TimeSpan.FromSeconds(round));
        }

        return round is > 1 and <= 11;
    });

    [Fact]
    public void A_bucket_never_exceeds_its_rate() => Gen.Select(Gen.Int[1, 1 << 20].Array[1, 200], Gen.Double[1e6, 1e9]).Sample((frames, rate) =>
    {
        const double Burst = 2 << 20;
        TokenBucket bucket = new(rate, Burst);
        TimeSpan now = TimeSpan.Zero;
        double sent = 0;
        foreach (int bytes in frames)
        {
            now += bucket.Take(bytes, now);
            sent += bytes;
            if (sent > Burst + (now.TotalSeconds * rate) + 100)
            {
                return false;
            }
        }

        return true;
    });
}
