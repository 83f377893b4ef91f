namespace PostCopy.HandOff;

/// <summary>Where the right to run is, as the destination sees it.</summary>
internal enum DestinationState
{
    /// <summary>Images arrive; there is no copy yet.</summary>
    Receiving,

    /// <summary>CRIU builds the copy, which does not run.</summary>
    Building,

    /// <summary>The copy is complete; CRIU waits at the fence (<c>post-restore</c>) until the source has answered.</summary>
    Asking,

    /// <summary>The source said yes. From the moment the fence opens the copy may have run.</summary>
    MayRun,

    /// <summary>The copy runs; pages are owed.</summary>
    Running,

    /// <summary>The copy runs and has everything.</summary>
    Complete,

    /// <summary>The source has removed its copy. The end.</summary>
    Done,

    /// <summary>There is no copy here, none ever ran an instruction, and none will. The end.</summary>
    NeverRan,
}

/// <summary>What can happen to the destination.</summary>
internal enum DestinationInput
{
    /// <summary>All images are here.</summary>
    ImagesComplete,

    /// <summary>CRIU reached the fence and waits.</summary>
    FenceReached,

    /// <summary>The source answered: you may run. May come more than once, and late.</summary>
    PeerSaysYes,

    /// <summary>The source answered, or says by itself: you may not run. May come more than once, and late.</summary>
    PeerSaysNo,

    /// <summary>The restore failed or its process died while the fence was closed.</summary>
    BuildFailed,

    /// <summary>The restore failed behind the fence, and it is certain that nothing ran: CRIU says so in an orderly end, or it died with the tasks frozen.</summary>
    FailedUnrun,

    /// <summary>Give up while that is still our right: a deadline passed, or the agent is stopped.</summary>
    GiveUp,

    /// <summary>The record says, now and for ever: may run.</summary>
    RecordedMayRun,

    /// <summary>The record says, now and for ever: never ran.</summary>
    RecordedNeverRan,

    /// <summary>The tasks were let go (CRIU's <c>post-resume</c>, or <c>pre-resume</c> where they could not be frozen until then).</summary>
    Resumed,

    /// <summary>Every page is installed or dropped.</summary>
    AllPagesIn,

    /// <summary>The source has removed its copy.</summary>
    PeerDiscarded,
}

/// <summary>What the destination must do, in the order of the bits.</summary>
[Flags]
internal enum DestinationActions
{
    None = 0,

    /// <summary>Start the restore.</summary>
    Build = 1,

    /// <summary>Ask the source for the word.</summary>
    Ask = 2,

    /// <summary>Write the record "may run" unless there is one; go on with what the record then says.</summary>
    RecordMayRun = 4,

    /// <summary>Write the record "never ran" unless there is one; go on with what the record then says.</summary>
    RecordNeverRan = 8,

    /// <summary>Note beside the record that the copy died before it ran, although it was allowed to.</summary>
    RecordReturned = 16,

    /// <summary>Let CRIU go on past the fence.</summary>
    OpenFence = 32,

    /// <summary>Refuse at the fence and kill whatever there is of the copy; done only when nothing is left.</summary>
    Destroy = 64,

    /// <summary>Tell the source that the copy is destroyed and never ran.</summary>
    SayNeverRan = 128,

    /// <summary>Tell the source that every page is here.</summary>
    SayDrained = 256,
}

/// <summary>The destination's half of the hand-off as a pure function; see <see cref="SourceHandOff"/> for the rule.</summary>
internal static class DestinationHandOff
{
    /// <summary>What follows from <paramref name="input"/> in <paramref name="state"/>. Inputs that mean nothing in a state change nothing.</summary>
    internal static (DestinationState State, DestinationActions Actions) On(DestinationState state, DestinationInput input) => (state, input) switch
    {
        (DestinationState.Receiving, DestinationInput.ImagesComplete) => (DestinationState.Building, DestinationActions.Build),
        (DestinationState.Building, DestinationInput.FenceReached) => (DestinationState.Asking, DestinationActions.Ask),
        (DestinationState.Asking, DestinationInput.PeerSaysYes) => (state, DestinationActions.RecordMayRun),

        (DestinationState.Receiving or DestinationState.Building or DestinationState.Asking, DestinationInput.PeerSaysNo or DestinationInput.BuildFailed or DestinationInput.GiveUp)
            => (state, DestinationActions.RecordNeverRan),

        // Whoever wrote it, the record is the decision: the fence itself writes it when the agent has died.
        (DestinationState.Asking, DestinationInput.RecordedMayRun) => (DestinationState.MayRun, DestinationActions.OpenFence),
        (DestinationState.Receiving or DestinationState.Building or DestinationState.Asking, DestinationInput.RecordedNeverRan)
            => (DestinationState.NeverRan, DestinationActions.Destroy | DestinationActions.SayNeverRan),

        (DestinationState.MayRun, DestinationInput.FailedUnrun)
            => (DestinationState.NeverRan, DestinationActions.RecordReturned | DestinationActions.Destroy | DestinationActions.SayNeverRan),
        (DestinationState.MayRun, DestinationInput.Resumed) => (DestinationState.Running, DestinationActions.None),
        (DestinationState.Running, DestinationInput.AllPagesIn) => (DestinationState.Complete, DestinationActions.SayDrained),
        (DestinationState.Complete, DestinationInput.PeerDiscarded) => (DestinationState.Done, DestinationActions.None),

        // The same answer for ever, also to a source that did not hear it.
        (DestinationState.NeverRan, DestinationInput.PeerSaysYes or DestinationInput.PeerSaysNo) => (state, DestinationActions.SayNeverRan),

        _ => (state, DestinationActions.None),
    };

    /// <summary>What to say when a connection to the source is made anew: whatever was said last may not have been heard.</summary>
    internal static DestinationActions Repeat(DestinationState state) => state switch
    {
        DestinationState.Asking => DestinationActions.Ask,
        DestinationState.NeverRan => DestinationActions.SayNeverRan,
        DestinationState.Complete => DestinationActions.SayDrained,
        _ => DestinationActions.None,
    };

    /// <summary>
    /// Where a new agent stands that finds a session of a dead one: from what was recorded, never from what was only remembered. Without
    /// <paramref name="resumed"/> (the stamp that comes before the first task runs) the fence may be closed still; opening it twice does nothing.
    /// </summary>
    internal static (DestinationState State, DestinationActions Actions) Recover(DestinationDecision? decision, bool returned, bool resumed) => (decision, returned, resumed) switch
    {
        (DestinationDecision.MayRun, true, _) or (DestinationDecision.NeverRan, _, _)
            => (DestinationState.NeverRan, DestinationActions.Destroy | DestinationActions.SayNeverRan),
        (DestinationDecision.MayRun, _, true) => (DestinationState.Running, DestinationActions.None),
        (DestinationDecision.MayRun, _, _) => (DestinationState.MayRun, DestinationActions.OpenFence),
        _ => (DestinationState.Building, DestinationActions.RecordNeverRan),
    };
}
