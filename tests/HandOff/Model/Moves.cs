using System.Numerics;

namespace PostCopy.Tests.HandOff.Model;

/// <summary>Collects what can follow a world.</summary>
internal sealed class Moves(Rules rules)
{
    private readonly List<(ulong World, Step Step)> _moves = [];

    /// <summary>Every world that can follow in one step. Valid until the next call.</summary>
    internal List<(ulong World, Step Step)> From(in World world)
    {
        _moves.Clear();
        SourceMoves.Add(world, rules, this);
        DestinationMoves.Add(world, rules, this);
        for (Messages left = world.Network; left != Messages.None; left &= left - 1)
        {
            Messages message = Lowest(left);
            World without = world;
            without.Network &= ~message;
            Add(without, new Step(Cause.Fault, "network", "loses", message));
        }

        return _moves;
    }

    internal void Add(World world, in Step step)
    {
        // Tasks that nothing holds run; there is no instant between.
        world.Source.RanSinceDump |= world.Source.TasksRun && world.Source.Dump == Dump.Ended;
        world.Destination.EverRan |= world.Destination.Copy == Copy.Runs;
        _moves.Add((world.Pack(), step));
    }

    /// <summary>What the process does next: its actions are done in the order of the bits.</summary>
    internal static T Lowest<T>(T flags) where T : struct, Enum => (T)(object)(1 << BitOperations.TrailingZeroCount((int)(object)flags));
}
