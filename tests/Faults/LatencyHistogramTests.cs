using CsCheck;
using PostCopy.Faults;

namespace PostCopy.Tests.Faults;

public sealed class LatencyHistogramTests
{
    [Fact]
    public void Percentiles_are_at_most_a_sixteenth_too_high() =>
        Gen.Long[0, 10_000_000].Array[1, 200].Sample(ticks =>
        {
            LatencyHistogram histogram = new();
            Array.ForEach(ticks, value => histogram.Record(TimeSpan.FromTicks(value)));
            Array.Sort(ticks);
            foreach (double fraction in new[] { 0.5, 0.99, 1 })
            {
                double exact = ticks[(int)Math.Ceiling(ticks.Length * fraction) - 1] / 10.0;
                Assert.InRange(histogram.PercentileMicroseconds(fraction), exact, exact * 17 / 16);
            }

            Assert.Equal(ticks[^1] / 10.0, histogram.MaxMicroseconds);
            Assert.Equal(ticks.Length, histogram.Count);
        });

    [Fact]
    public void Empty_answers_zero() => Assert.Equal(0, new LatencyHistogram().PercentileMicroseconds(0.99));
}
