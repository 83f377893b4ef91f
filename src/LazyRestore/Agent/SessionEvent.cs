using PostCopy.Control;
using PostCopy.Criu;
using PostCopy.Keeper;
using PostCopy.Linux;

namespace PostCopy.Agent;

/// <summary>Something that happened to a session. All of them go through one queue, so that the session handles one after the other.</summary>
internal abstract record SessionEvent
{
    /// <summary>The source said something.</summary>
    internal sealed record Message(ControlMessage Value) : SessionEvent;

    /// <summary>A control lane ended.</summary>
    internal sealed record LinkLost(ControlChannel Control, string Reason) : SessionEvent;

    /// <summary>The source has connected anew.</summary>
    internal sealed record Reconnected(ControlChannel Control) : SessionEvent;

    /// <summary>A page lane cannot go on.</summary>
    internal sealed record LaneBroken(uint Epoch, string Reason) : SessionEvent;

    /// <summary>CRIU came to a step.</summary>
    internal sealed record Step(CriuStep Value) : SessionEvent;

    /// <summary><c>runc restore</c> ended.</summary>
    internal sealed record RestoreEnded(ExitStatus Status) : SessionEvent;

    /// <summary>The pages are in place that must be before a task runs.</summary>
    internal sealed record ReadyToRun : SessionEvent;

    /// <summary>Every page is installed or dropped.</summary>
    internal sealed record Drained : SessionEvent;

    /// <summary>A page cannot be put in place, or CRIU's socket failed.</summary>
    internal sealed record MemoryFailed(string Reason) : SessionEvent;

    /// <summary>Nobody is left who could need a page.</summary>
    internal sealed record ContainerDied : SessionEvent;

    /// <summary>Time to tell how far it is.</summary>
    internal sealed record Tick : SessionEvent;

    /// <summary>A deadline has passed.</summary>
    internal sealed record GiveUp(string Reason) : SessionEvent;

    /// <summary>The agent is asked to stop.</summary>
    internal sealed record Stop : SessionEvent;

    /// <summary>Something that goes on beside the queue of events failed.</summary>
    internal sealed record Failed(Exception Error) : SessionEvent;

    /// <summary>A keeper has ended.</summary>
    internal sealed record KeeperEnded(KeeperProcess Keeper) : SessionEvent;
}
