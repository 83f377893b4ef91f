using PostCopy.HandOff;

namespace PostCopy.Tests.HandOff.Model;

/// <summary>What must never be, in any world that can be reached.</summary>
internal enum Promise
{
    /// <summary>The tasks run on at most one host.</summary>
    OneRuns,

    /// <summary>The copy runs no instruction unless the source's record says handed off.</summary>
    NoneRunsWithoutTheWord,

    /// <summary>The source takes the right to run back only from a copy that never ran an instruction.</summary>
    OnlyTheUnrunReturns,

    /// <summary>The source runs nothing after the hand-off, unless the right to run came back.</summary>
    HandedOffStaysFrozen,

    /// <summary>When the copy ran, the source's tasks stayed what they were in the dump: there is one history.</summary>
    OneHistory,

    /// <summary>The source's tasks are killed only when the copy runs and has everything.</summary>
    KilledOnlyWhenMoved,

    /// <summary>
    /// None of the two is lost while both hosts live: from every world there is a way, without another fault, to exactly one running copy with
    /// everything cleaned up. The only exception is <see cref="Promises.IsUnprovable"/>.
    /// </summary>
    OneRunsInTheEnd,

    /// <summary>A migration that nothing disturbs gets to its end without deadlines and without saying anything twice.</summary>
    UndisturbedRunsMove,
}

/// <summary>The promises as predicates.</summary>
internal static class Promises
{
    /// <summary>The first of the promises that this world breaks by itself; with <paramref name="only"/>, that one or none.</summary>
    internal static Promise? BrokenIn(in World world, Promise? only = null)
    {
        for (Promise promise = Promise.OneRuns; promise <= Promise.KilledOnlyWhenMoved; promise++)
        {
            if ((only is null || only == promise) && Breaks(world, promise))
            {
                return promise;
            }
        }

        return null;
    }

    private static bool Breaks(in World world, Promise promise)
    {
        ref readonly SourceHost source = ref world.Source;
        ref readonly DestinationHost destination = ref world.Destination;
        return promise switch
        {
            Promise.OneRuns => source.TasksRun && destination.Copy == Copy.Runs,
            Promise.NoneRunsWithoutTheWord => destination.EverRan && source.Decision != Decision.HandedOff,
            Promise.OnlyTheUnrunReturns => destination.EverRan && source.Returned,
            Promise.HandedOffStaysFrozen => source.TasksRun && source.Decision == Decision.HandedOff && !source.Returned,
            Promise.OneHistory => destination.EverRan && source.RanSinceDump,
            Promise.KilledOnlyWhenMoved => source.TasksGone && !(destination.Copy == Copy.Runs && destination.AllPagesIn),
            _ => throw new ArgumentOutOfRangeException(nameof(promise), promise, "not a promise about a single world"),
        };
    }

    internal static bool IsMoved(in World world) =>
        world.Source is { Process: SourceState.Done, ToDo: SourceActions.None, TasksGone: true } &&
        world.Destination is { Process: DestinationState.Done, ToDo: DestinationActions.None, Copy: Copy.Runs, AllPagesIn: true };

    internal static bool IsRolledBack(in World world) =>
        world.Source is { Process: SourceState.RolledBack, ToDo: SourceActions.None, TasksRun: true } &&
        world.Destination is { Process: DestinationState.NeverRan, ToDo: DestinationActions.None, Copy: Copy.None };

    /// <summary>
    /// CRIU died by a signal on the destination before it let the tasks go and before they were frozen for that, and the yes was taken before its death was heard of: nobody can
    /// prove whether the copy ran. Its tasks run or are parked, the source stays frozen and is reported as handed off, and a human decides.
    /// </summary>
    internal static bool IsUnprovable(in World world) =>
        world.Source is { Decision: Decision.HandedOff, Returned: false, TasksGone: false, TasksRun: false } &&
        world.Destination is { Returned: false, Restore: Restore.Killed, Copy: Copy.Runs or Copy.Unrun } &&
        (world.Destination.Decision == DestinationDecision.MayRun || world.Destination.ToDo == DestinationActions.RecordMayRun);
}
