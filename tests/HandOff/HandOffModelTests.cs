using System.Diagnostics;
using PostCopy.HandOff;
using PostCopy.Tests.HandOff.Model;
using Xunit.Abstractions;

namespace PostCopy.Tests.HandOff;

/// <summary>
/// Both state machines as they are, composed with what surrounds them: records, hooks, CRIU, the tasks, a network that loses, repeats, delays and
/// reorders, and death at every step. Explored completely; see <see cref="World"/> for the parts and <see cref="Promise"/> for what is checked.
/// Outside the model: the end of a whole host (post-copy loses the container then), tasks that exit by themselves, an operator's override, a
/// second process working on the same session (a lock forbids it), and a later migration of the same container.
/// </summary>
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

    [Fact]
    public void The_interesting_worlds_are_reached()
    {
        StateSpace space = StateSpace.Explore(Rules.Real);
        int moved = 0, rolledBack = 0, returned = 0, parkedForEver = 0, runsUnproved = 0;
        for (int i = 0; i < space.Count; i++)
        {
            World world = space[i];
            moved += Promises.IsMoved(world) ? 1 : 0;
            rolledBack += Promises.IsRolledBack(world) && !world.Source.Returned ? 1 : 0;
            returned += Promises.IsRolledBack(world) && world.Source.Returned ? 1 : 0;
            parkedForEver += Promises.IsUnprovable(world) && world.Destination.Copy == Copy.Unrun ? 1 : 0;
            runsUnproved += Promises.IsUnprovable(world) && world.Destination.Copy == Copy.Runs ? 1 : 0;
        }

        output.WriteLine($"moved {moved}, rolled back {rolledBack}, returned {returned}, unprovable: parked {parkedForEver}, runs {runsUnproved}");
        Assert.All([moved, rolledBack, returned, parkedForEver, runsUnproved], static count => Assert.NotEqual(0, count));
    }

    /// <summary>A field that its number left out would hide worlds from the exploration.</summary>
    [Fact]
    public void A_world_and_its_number_are_the_same()
    {
        World full = new()
        {
            Source = new SourceHost
            {
                Process = SourceState.RolledBack,
                ToDo = (SourceActions)1023,
                Decision = Decision.Cancelled,
                Returned = true,
                Drained = true,
                Dump = Dump.Ended,
                OwnerDied = true,
                FrozenAgain = true,
                TasksGone = true,
                RanSinceDump = true,
            },
            Destination = new DestinationHost
            {
                Process = DestinationState.NeverRan,
                ToDo = (DestinationActions)511,
                Decision = DestinationDecision.NeverRan,
                Returned = true,
                Restore = Model.Restore.Killed,
                Fence = Fence.Gone,
                GoOn = true,
                OwnerDied = true,
                Copy = Copy.Runs,
                EverRan = true,
                AllPagesIn = true,
            },
            Network = (Messages)127,
        };
        Assert.All(StateSpace.FieldsOf(full.Source).Concat(StateSpace.FieldsOf(full.Destination)), static field =>
            Assert.False(field.Value is null or false || Convert.ToInt32(field.Value) == 0, $"{field.Name} is not set by this test"));

        Assert.Equal(full, World.Unpack(full.Pack()));
        Assert.Equal(World.Beginning, World.Unpack(World.Beginning.Pack()));
    }
}
