using PostCopy.HandOff;

namespace PostCopy.Tests.HandOff.Model;

/// <summary>What can happen on the source host: to the process, to CRIU and its hook.</summary>
internal static class SourceMoves
{
    private const string Process = "source";
    private const string Hook = "source's hook";

    internal static void Add(in World world, Rules rules, Moves moves)
    {
        AddDump(world, moves);
        if (world.Source.Process is not { } state)
        {
            World restarted = world;
            (restarted.Source.Process, restarted.Source.ToDo) =
                rules.SourceRecover(world.Source.Decision, world.Source.Returned, world.Source.Drained, !world.Source.TasksGone);
            moves.Add(restarted, new Step(Cause.Progress, Process, "is started again and reads the records: state", restarted.Source.Process));
            return;
        }

        World dead = world;
        dead.Source.Process = null;
        dead.Source.ToDo = SourceActions.None;
        dead.Source.OwnerDied = true;
        moves.Add(dead, new Step(Cause.Fault, Process, "dies"));

        if (world.Source.ToDo != SourceActions.None)
        {
            AddAction(world, state, rules, moves);
        }
        else
        {
            AddInputs(world, state, rules, moves);
        }
    }

    /// <summary>CRIU and the hook go their own way, whoever lives.</summary>
    private static void AddDump(in World world, Moves moves)
    {
        if (world.Source.Dump == Dump.Dumping)
        {
            World held = world;
            held.Source.Dump = Dump.Holding;
            moves.Add(held, new Step(Cause.Progress, "source's CRIU", "has written its images and waits in post-dump"));
        }

        if (world.Source.Dump is Dump.Dumping or Dump.Holding)
        {
            World ended = world;
            ended.Source.Dump = Dump.Ended;
            moves.Add(ended, new Step(Cause.Fault, "source's CRIU", "dies or fails: it no longer holds the tasks"));
        }

        if (!world.Source.OwnerDied || world.Source.Dump is not (Dump.Holding or Dump.Ended))
        {
            return;
        }

        // A hook that found its owner dead may act when a new owner already lives: possible, but nothing to count on.
        Cause cause = world.Source.Process is null ? Cause.Progress : Cause.Fault;
        World acted = world;
        if (world.Source.Decision is null)
        {
            acted.Source.Decision = Decision.Cancelled;
            moves.Add(acted, new Step(cause, Hook, "finds its owner dead and writes the record", Decision.Cancelled));
        }
        else if (world.Source.Decision == Decision.Cancelled && world.Source.Dump == Dump.Holding)
        {
            acted.Source.Dump = Dump.Ended;
            moves.Add(acted, new Step(cause, Hook, "finds its owner dead and the record Cancelled, and refuses: CRIU lets the tasks go"));
        }
    }

    private static void AddInputs(in World world, SourceState state, Rules rules, Moves moves)
    {
        World next = world;
        switch (state)
        {
            case SourceState.Preparing when world.Source.Dump == Dump.NotStarted:
                next.Source.Dump = Dump.Dumping;
                moves.Add(next, new Step(Cause.Progress, Process, "starts CRIU's dump: the tasks are stopped"));
                break;
            case SourceState.Preparing when world.Source.Dump == Dump.Holding:
                Hear(world, SourceInput.Dumped, Cause.Progress);
                break;
            case SourceState.Frozen:
                next.Network |= Messages.Images;
                moves.Add(next, new Step(Cause.Progress, Process, "sends", Messages.Images));
                if (world.Network.HasFlag(Messages.Images) || world.Destination.Process != DestinationState.Receiving)
                {
                    Hear(world, SourceInput.ImagesSent, Cause.Progress);
                }

                break;
            case SourceState.Drained when world.Source.TasksGone:
                Hear(world, SourceInput.Killed, Cause.Progress);
                break;
            default:
                break;
        }

        Hear(world, SourceInput.GiveUp, Cause.GiveUp);
        HearMessage(world, Messages.Ask, SourceInput.PeerAsks);
        HearMessage(world, Messages.NeverRan, SourceInput.PeerNeverRan);
        HearMessage(world, Messages.Drained, SourceInput.PeerDrained);

        World repeated = world;
        repeated.Source.ToDo = rules.SourceRepeat(state);
        moves.Add(repeated, new Step(Cause.Repeat, Process, "is connected anew and says again", repeated.Source.ToDo));

        void HearMessage(in World before, Messages message, SourceInput input)
        {
            if (before.Network.HasFlag(message))
            {
                World without = before;
                without.Network &= ~message;
                Hear(without, input, Cause.Progress);
                Hear(before, input, Cause.Fault);
            }
        }

        void Hear(World after, SourceInput input, Cause cause)
        {
            (after.Source.Process, after.Source.ToDo) = rules.SourceOn(state, input);
            moves.Add(after, new Step(cause, Process, cause == Cause.Fault ? "hears, not for the last time," : "hears", input));
        }
    }

    private static void AddAction(in World world, SourceState state, Rules rules, Moves moves)
    {
        SourceActions action = Moves.Lowest(world.Source.ToDo);
        World next = world;
        next.Source.ToDo &= ~action;
        ref SourceHost source = ref next.Source;
        switch (action)
        {
            case SourceActions.FreezeAgain:
                source.FrozenAgain = !source.TasksGone;
                if (rules.FreezeAgainChecksTheHold && source.Dump != Dump.Holding)
                {
                    // An action that fails ends the work at hand, and the process gives up if it still may.
                    (source.Process, source.ToDo) = rules.SourceOn(state, SourceInput.GiveUp);
                    moves.Add(next, new Step(Cause.Progress, Process, "does FreezeAgain, finds that CRIU no longer holds the tasks, and hears", SourceInput.GiveUp));
                    return;
                }

                break;
            case SourceActions.RecordHandedOff or SourceActions.RecordCancelled:
                source.Decision ??= action == SourceActions.RecordHandedOff ? Decision.HandedOff : Decision.Cancelled;
                (source.Process, SourceActions follows) =
                    rules.SourceOn(state, source.Decision == Decision.HandedOff ? SourceInput.RecordedHandedOff : SourceInput.RecordedCancelled);
                source.ToDo |= follows;
                break;
            case SourceActions.RecordReturned:
                source.Returned = true;
                break;
            case SourceActions.RecordDrained:
                source.Drained = true;
                break;
            case SourceActions.SayYes:
                next.Network |= Messages.Yes;
                break;
            case SourceActions.SayNo:
                next.Network |= Messages.No;
                break;
            case SourceActions.SayDiscarded:
                next.Network |= Messages.Discarded;
                break;
            case SourceActions.Kill:
                source.TasksGone = true;
                source.FrozenAgain = false;
                source.Dump = Dump.Ended;
                break;
            case SourceActions.Resume when source.Dump == Dump.Dumping:
                return; // The refusal waits until CRIU asks.
            case SourceActions.Resume when source.Dump == Dump.Holding:
                source.Dump = Dump.Ended;
                source.ToDo |= SourceActions.Resume;
                moves.Add(next, new Step(Cause.Progress, Process, "refuses post-dump: CRIU lets the tasks go"));
                return;
            case SourceActions.Resume:
                source.FrozenAgain = false;
                break;
            default:
                throw new InvalidOperationException($"an action the model does not know: {action}");
        }

        moves.Add(next, new Step(Cause.Progress, Process, "does", action));
    }
}
