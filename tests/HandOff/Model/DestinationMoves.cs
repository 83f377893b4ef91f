using PostCopy.HandOff;

namespace PostCopy.Tests.HandOff.Model;

/// <summary>What can happen on the destination host: to the agent, to CRIU and the hook that is the fence, to the copy.</summary>
internal static class DestinationMoves
{
    private const string Agent = "agent";
    private const string Criu = "destination's CRIU";
    private const string Hook = "fence";

    internal static void Add(in World world, Rules rules, Moves moves)
    {
        AddRestore(world, moves);
        AddFence(world, moves);
        if (world.Destination.Process is not { } state)
        {
            World restarted = world;
            (restarted.Destination.Process, restarted.Destination.ToDo) =
                rules.DestinationRecover(world.Destination.Decision, world.Destination.Returned, world.Destination.Restore == Restore.Finished);
            moves.Add(restarted, new Step(Cause.Progress, Agent, "is started again and reads the records: state", restarted.Destination.Process));
            return;
        }

        World dead = world;
        dead.Destination.Process = null;
        dead.Destination.ToDo = DestinationActions.None;
        dead.Destination.OwnerDied = true;
        moves.Add(dead, new Step(Cause.Fault, Agent, "dies"));

        if (world.Destination.ToDo != DestinationActions.None)
        {
            AddAction(world, state, rules, moves);
        }
        else
        {
            AddInputs(world, state, rules, moves);
        }
    }

    /// <summary>CRIU goes its own way, whoever lives.</summary>
    private static void AddRestore(in World world, Moves moves)
    {
        switch (world.Destination.Restore)
        {
            case Restore.Building:
                End(world, Restore.AtFence, Copy.Unrun, Cause.Progress, "has built the copy and waits at the fence");
                End(world, Restore.Failed, Copy.None, Cause.Fault, "fails, and kills what it has built");
                End(world, Restore.Killed, Copy.Unrun, Cause.Fault, "is killed: the tasks are parked");
                break;
            case Restore.AtFence:
                End(world, Restore.Failed, Copy.None, Cause.Fault, "fails because its hook was killed, and kills the copy", Fence.Gone);
                End(world, Restore.Killed, Copy.Unrun, Cause.Fault, "is killed at the fence: the tasks are parked");
                break;
            case Restore.Passed:
                End(world, Restore.Finished, Copy.Runs, Cause.Progress, "lets the tasks go: they run");
                End(world, Restore.Failed, Copy.None, Cause.Fault, "fails behind the fence, and kills the copy, which never ran");
                End(world, Restore.Killed, Copy.Unrun, Cause.Fault, "is killed behind the fence: the tasks are parked");
                End(world, Restore.Killed, Copy.Runs, Cause.Fault, "is killed behind the fence: the tasks run");
                break;
            default:
                break;
        }

        void End(World after, Restore restore, Copy copy, Cause cause, string does, Fence? fence = null)
        {
            after.Destination.Restore = restore;
            after.Destination.Copy = copy;
            after.Destination.Fence = fence ?? after.Destination.Fence;
            moves.Add(after, new Step(cause, Criu, does));
        }
    }

    /// <summary>The hook outlives the agent, and CRIU, too.</summary>
    private static void AddFence(in World world, Moves moves)
    {
        if (world.Destination.Restore is not (Restore.AtFence or Restore.Killed))
        {
            return;
        }

        // A hook that found its owner dead may act when a new owner already lives: possible, but nothing to count on.
        Cause cause = world.Destination.Process is null ? Cause.Progress : Cause.Fault;
        World next = world;
        switch (world.Destination.Fence)
        {
            case Fence.Refusing:
                next.Destination.Fence = Fence.Gone;
                if (world.Destination.Restore == Restore.AtFence)
                {
                    next.Destination.Restore = Restore.Failed;
                    next.Destination.Copy = Copy.None;
                }

                moves.Add(next, new Step(Cause.Progress, Hook, "refuses: CRIU, if it lives, kills the copy"));
                break;
            case Fence.Waiting when world.Destination.GoOn:
                next.Destination.Fence = Fence.Gone;
                next.Destination.Restore = world.Destination.Restore == Restore.AtFence ? Restore.Passed : Restore.Killed;
                moves.Add(next, new Step(Cause.Progress, Hook, "opens"));
                break;
            default:
                break;
        }

        // Also when the answer lies in the FIFO: the hook may have looked for it before it came, and for its owner after.
        if (world.Destination.Fence == Fence.Waiting && world.Destination.OwnerDied)
        {
            World refuses = world;
            refuses.Destination.Fence = Fence.Refusing;
            refuses.Destination.Decision ??= DestinationDecision.NeverRan;
            refuses.Destination.Returned |= refuses.Destination.Decision == DestinationDecision.MayRun;
            moves.Add(refuses, new Step(cause, Hook, "finds its owner dead and writes", refuses.Destination.Returned ? DestinationActions.RecordReturned : DestinationActions.RecordNeverRan));
        }
    }

    private static void AddInputs(in World world, DestinationState state, Rules rules, Moves moves)
    {
        Restore restore = world.Destination.Restore;
        if (state is DestinationState.Building && restore == Restore.AtFence)
        {
            Hear(world, DestinationInput.FenceReached, Cause.Progress);
        }

        if (state is DestinationState.Building or DestinationState.Asking && restore is Restore.Failed or Restore.Killed)
        {
            Hear(world, DestinationInput.BuildFailed, Cause.Progress);
        }

        if (state == DestinationState.MayRun && (restore == Restore.Failed || world.Destination.Returned))
        {
            Hear(world, DestinationInput.FailedUnrun, Cause.Progress);
        }

        if (state == DestinationState.MayRun && restore == Restore.Finished)
        {
            Hear(world, DestinationInput.Resumed, Cause.Progress);
        }

        if (state == DestinationState.Running && !world.Destination.AllPagesIn && world.Source.Process == SourceState.HandedOff && !world.Source.TasksGone)
        {
            World filled = world;
            filled.Destination.AllPagesIn = true;
            moves.Add(filled, new Step(Cause.Progress, Agent, "receives the last page"));
        }

        if (state == DestinationState.Running && world.Destination.AllPagesIn)
        {
            Hear(world, DestinationInput.AllPagesIn, Cause.Progress);
        }

        Hear(world, DestinationInput.GiveUp, Cause.GiveUp);
        HearMessage(world, Messages.Images, DestinationInput.ImagesComplete);
        HearMessage(world, Messages.Yes, DestinationInput.PeerSaysYes);
        HearMessage(world, Messages.No, DestinationInput.PeerSaysNo);
        HearMessage(world, Messages.Discarded, DestinationInput.PeerDiscarded);

        World repeated = world;
        repeated.Destination.ToDo = rules.DestinationRepeat(state);
        moves.Add(repeated, new Step(Cause.Repeat, Agent, "is connected anew and says again", repeated.Destination.ToDo));

        void HearMessage(in World before, Messages message, DestinationInput input)
        {
            if (before.Network.HasFlag(message))
            {
                World without = before;
                without.Network &= ~message;
                Hear(without, input, Cause.Progress);
                Hear(before, input, Cause.Fault);
            }
        }

        void Hear(World after, DestinationInput input, Cause cause)
        {
            (after.Destination.Process, after.Destination.ToDo) = rules.DestinationOn(state, input);
            moves.Add(after, new Step(cause, Agent, cause == Cause.Fault ? "hears, not for the last time," : "hears", input));
        }
    }

    private static void AddAction(in World world, DestinationState state, Rules rules, Moves moves)
    {
        DestinationActions action = Moves.Lowest(world.Destination.ToDo);
        World next = world;
        next.Destination.ToDo &= ~action;
        ref DestinationHost host = ref next.Destination;
        switch (action)
        {
            case DestinationActions.Build:
                host.Restore = Restore.Building;
                host.Copy = Copy.Unrun;
                break;
            case DestinationActions.Ask:
                next.Network |= Messages.Ask;
                break;
            case DestinationActions.RecordMayRun or DestinationActions.RecordNeverRan:
                host.Decision ??= action == DestinationActions.RecordMayRun ? DestinationDecision.MayRun : DestinationDecision.NeverRan;
                (host.Process, DestinationActions follows) =
                    rules.DestinationOn(state, host.Decision == DestinationDecision.MayRun ? DestinationInput.RecordedMayRun : DestinationInput.RecordedNeverRan);
                host.ToDo |= follows;
                break;
            case DestinationActions.RecordReturned:
                host.Returned = true;
                break;
            case DestinationActions.OpenFence:
                host.GoOn = true;
                break;
            case DestinationActions.Destroy when host.Restore is Restore.Building or Restore.AtFence or Restore.Passed:
                // CRIU first. Behind the fence its death may let the tasks go for a moment.
                host.Copy = host.Restore == Restore.Passed ? Copy.Runs : Copy.Unrun;
                host.Restore = Restore.Killed;
                host.ToDo |= DestinationActions.Destroy;
                moves.Add(next, new Step(Cause.Progress, Agent, "kills CRIU"));
                return;
            case DestinationActions.Destroy:
                host.Copy = Copy.None;
                break;
            case DestinationActions.SayNeverRan:
                next.Network |= Messages.NeverRan;
                break;
            case DestinationActions.SayDrained:
                next.Network |= Messages.Drained;
                break;
            default:
                throw new InvalidOperationException($"an action the model does not know: {action}");
        }

        moves.Add(next, new Step(Cause.Progress, Agent, "does", action));
    }
}
