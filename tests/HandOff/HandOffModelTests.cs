using System.Diagnostics;
using PostCopy.Tests.HandOff.Model;
using Xunit.Abstractions;

namespace PostCopy.Tests.HandOff;

public sealed class HandOffModelTests(ITestOutputHelper output)
{
    [Fact]
    public void Whatever_dies_and_whatever_the_network_does_at_most_one_side_runs_and_in_the_end_one_does()
    {
        Stopwatch watch = Stopwatch.StartNew();
        (Promise Promise, string Trace)? broken = ModelCheck.FirstBroken(Rules.Real, out StateSpace space);
        output.WriteLine($"{space.Count} worlds, {space.MoveCount} steps between them, {watch.Elapsed.TotalSeconds:F1} s");
        Assert.True(broken is null, $"{broken?.Promise} is broken:\n{broken?.Trace}");
    }
}
