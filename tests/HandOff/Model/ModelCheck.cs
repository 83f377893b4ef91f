namespace PostCopy.Tests.HandOff.Model;

/// <summary>Checks every promise under given rules.</summary>
internal static class ModelCheck
{
    /// <summary>The first promise found broken, with the shortest way there; null when all are kept.</summary>
    internal static (Promise Promise, string Trace)? FirstBroken(Rules rules, out StateSpace space)
    {
        space = StateSpace.Explore(rules);
        return space.Broken ?? LostIn(space) ?? StuckUndisturbed(rules);
    }

    /// <summary>The shortest way to break one promise, whatever else breaks before; null when it is kept.</summary>
    internal static string? WayToBreak(Promise promise, Rules rules) => promise switch
    {
        Promise.OneRunsInTheEnd => LostIn(StateSpace.Explore(rules, lookFor: promise))?.Trace,
        Promise.UndisturbedRunsMove => StuckUndisturbed(rules)?.Trace,
        _ => StateSpace.Explore(rules, lookFor: promise).Broken?.Trace,
    };

    private static (Promise Promise, string Trace)? LostIn(StateSpace space)
    {
        foreach (int world in space.Without(static world => Promises.IsMoved(world) || Promises.IsRolledBack(world), static cause => cause != Cause.Fault))
        {
            if (!Promises.IsUnprovable(space[world]))
            {
                return (Promise.OneRunsInTheEnd, space.Trace(world));
            }
        }

        return null;
    }

    private static (Promise Promise, string Trace)? StuckUndisturbed(Rules rules)
    {
        StateSpace undisturbed = StateSpace.Explore(rules, static cause => cause == Cause.Progress);
        foreach (int world in undisturbed.Without(static world => Promises.IsMoved(world), static cause => cause == Cause.Progress))
        {
            return (Promise.UndisturbedRunsMove, undisturbed.Trace(world));
        }

        return null;
    }
}
