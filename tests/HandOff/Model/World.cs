using PostCopy.HandOff;

namespace PostCopy.Tests.HandOff.Model;

/// <summary>CRIU on the source. While it dumps or holds, the tasks are stopped by ptrace; when it ends, for whatever reason, the kernel lets them go.</summary>
internal enum Dump
{
    NotStarted,
    Dumping,

    /// <summary>Its hook waits in <c>post-dump</c>.</summary>
    Holding,

    /// <summary>Refused, undone, failed or killed (also: its hook was killed, which CRIU takes for a refusal).</summary>
    Ended,
}

/// <summary>CRIU on the destination.</summary>
internal enum Restore
{
    NotStarted,
    Building,
    AtFence,

    /// <summary>The fence is open; the tasks are about to be let go.</summary>
    Passed,

    /// <summary>The tasks were let go, and the stamp that comes before that says so.</summary>
    Finished,

    /// <summary>Failed in a way that proves that the copy never ran: in an orderly one, as its log says, or with the tasks frozen.</summary>
    Failed,

    /// <summary>Died by a signal: what is left of the copy is parked or, behind the fence, perhaps runs.</summary>
    Killed,
}

/// <summary>The hook that is the fence.</summary>
internal enum Fence
{
    Waiting,

    /// <summary>It has written its record and is about to refuse.</summary>
    Refusing,

    Gone,
}

/// <summary>The tasks on the destination.</summary>
internal enum Copy
{
    None,

    /// <summary>There are tasks; none has run a user instruction.</summary>
    Unrun,

    Runs,
}

/// <summary>
/// What travels. The network is the set of kinds of messages that are under way: a message may be delivered and stay (which is a repetition or a
/// delay of any length), be delivered and go, or be lost, in any order. Messages of one session have no content but their kind, so the set stands
/// for every number of copies, and no bound on messages in flight is needed. A cut link is the loss of all of them.
/// </summary>
[Flags]
internal enum Messages
{
    None = 0,
    Images = 1,
    Yes = 2,
    No = 4,
    Discarded = 8,
    Ask = 16,
    NeverRan = 32,
    Drained = 64,
}

/// <summary>What survives on the source host, and the process that works there.</summary>
internal struct SourceHost
{
    /// <summary>Null: no process lives.</summary>
    internal SourceState? Process;

    /// <summary>What the process has still to do before it hears anything else.</summary>
    internal SourceActions ToDo;

    internal Decision? Decision;
    internal bool Returned;
    internal bool Drained;
    internal Dump Dump;

    /// <summary>A process of this side has died once, and the hook may have noticed.</summary>
    internal bool OwnerDied;

    internal bool FrozenAgain;
    internal bool TasksGone;

    /// <summary>The tasks ran after CRIU had stopped them: they are no longer what the images say.</summary>
    internal bool RanSinceDump;

    internal readonly bool TasksRun => !TasksGone && !FrozenAgain && (Dump is Dump.NotStarted or Dump.Ended);
}

/// <summary>What survives on the destination host, and the agent that works there.</summary>
internal struct DestinationHost
{
    /// <summary>Null: no agent lives.</summary>
    internal DestinationState? Process;

    /// <summary>What the agent has still to do before it hears anything else.</summary>
    internal DestinationActions ToDo;

    internal DestinationDecision? Decision;
    internal bool Returned;
    internal Restore Restore;
    internal Fence Fence;

    /// <summary>The agent's "go on" lies in the FIFO; the hook has perhaps not read it yet.</summary>
    internal bool GoOn;

    internal bool OwnerDied;
    internal Copy Copy;
    internal bool EverRan;
    internal bool AllPagesIn;
}

/// <summary>Both hosts and what is under way between them.</summary>
internal struct World
{
    private const int Gone = 15;

    internal SourceHost Source;
    internal DestinationHost Destination;
    internal Messages Network;

    /// <summary>A migration begins: both processes live, the tasks run on the source.</summary>
    internal static World Beginning => new()
    {
        Source = { Process = SourceState.Preparing },
        Destination = { Process = DestinationState.Receiving },
    };

    /// <summary>The same world as a number; different worlds have different numbers.</summary>
    internal readonly ulong Pack()
    {
        ulong packed = 0;
        Add(4, (int?)Source.Process ?? Gone);
        Add(10, (int)Source.ToDo);
        Add(2, (int?)Source.Decision + 1 ?? 0);
        Add(1, Source.Returned ? 1 : 0);
        Add(1, Source.Drained ? 1 : 0);
        Add(2, (int)Source.Dump);
        Add(1, Source.OwnerDied ? 1 : 0);
        Add(1, Source.FrozenAgain ? 1 : 0);
        Add(1, Source.TasksGone ? 1 : 0);
        Add(1, Source.RanSinceDump ? 1 : 0);
        Add(4, (int?)Destination.Process ?? Gone);
        Add(9, (int)Destination.ToDo);
        Add(2, (int?)Destination.Decision + 1 ?? 0);
        Add(1, Destination.Returned ? 1 : 0);
        Add(3, (int)Destination.Restore);
        Add(2, (int)Destination.Fence);
        Add(1, Destination.GoOn ? 1 : 0);
        Add(1, Destination.OwnerDied ? 1 : 0);
        Add(2, (int)Destination.Copy);
        Add(1, Destination.EverRan ? 1 : 0);
        Add(1, Destination.AllPagesIn ? 1 : 0);
        Add(7, (int)Network);
        return packed;

        void Add(int bits, int value) => packed = value >> bits == 0
            ? (packed << bits) | (uint)value
            : throw new InvalidOperationException($"{value} does not fit into {bits} bits");
    }

    internal static World Unpack(ulong packed)
    {
        World world = default;
        world.Network = (Messages)Take(7);
        world.Destination.AllPagesIn = Take(1) == 1;
        world.Destination.EverRan = Take(1) == 1;
        world.Destination.Copy = (Copy)Take(2);
        world.Destination.OwnerDied = Take(1) == 1;
        world.Destination.GoOn = Take(1) == 1;
        world.Destination.Fence = (Fence)Take(2);
        world.Destination.Restore = (Restore)Take(3);
        world.Destination.Returned = Take(1) == 1;
        world.Destination.Decision = Take(2) is > 0 and var right ? (DestinationDecision)(right - 1) : null;
        world.Destination.ToDo = (DestinationActions)Take(9);
        world.Destination.Process = Take(4) is not Gone and var agent ? (DestinationState)agent : null;
        world.Source.RanSinceDump = Take(1) == 1;
        world.Source.TasksGone = Take(1) == 1;
        world.Source.FrozenAgain = Take(1) == 1;
        world.Source.OwnerDied = Take(1) == 1;
        world.Source.Dump = (Dump)Take(2);
        world.Source.Drained = Take(1) == 1;
        world.Source.Returned = Take(1) == 1;
        world.Source.Decision = Take(2) is > 0 and var decision ? (Decision)(decision - 1) : null;
        world.Source.ToDo = (SourceActions)Take(10);
        world.Source.Process = Take(4) is not Gone and var owner ? (SourceState)owner : null;
        return world;

        int Take(int bits)
        {
            int value = (int)(packed & ((1UL << bits) - 1));
            packed >>= bits;
            return value;
        }
    }
}
