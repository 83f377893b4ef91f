namespace PostCopy.HandOff;

/// <summary>Where the right to run is, as the source sees it. Who may run is decided here and nowhere else.</summary>
internal enum SourceState
{
    /// <summary>Checks. The tasks run here.</summary>
    Preparing,

    /// <summary>The tasks are held; the dump is being made, the images travel.</summary>
    Frozen,

    /// <summary>The destination builds its copy, which does not run.</summary>
    Restoring,

    /// <summary>The destination's copy is complete and waits for the word; the decision is being written.</summary>
    Asked,

    /// <summary>The destination may run. The tasks here are frozen twice and must never be resumed, unless the destination proves that it never ran.</summary>
    HandedOff,

    /// <summary>The destination has everything. The frozen copy is being removed.</summary>
    Drained,

    /// <summary>The frozen copy is gone.</summary>
    Done,

    /// <summary>The tasks run here again; the destination may not.</summary>
    RolledBack,
}

/// <summary>What can happen to the source.</summary>
internal enum SourceInput
{
    /// <summary>All tasks are held and the images are complete (CRIU waits in <c>post-dump</c>).</summary>
    Dumped,

    /// <summary>The destination has all images.</summary>
    ImagesSent,

    /// <summary>The destination's copy is built and asks for the word. May come more than once.</summary>
    PeerAsks,

    /// <summary>The destination says that its copy is destroyed and never ran an instruction. May come more than once.</summary>
    PeerNeverRan,

    /// <summary>The destination says that it has every page. May come more than once.</summary>
    PeerDrained,

    /// <summary>The user gave up, a step failed, or the link broke.</summary>
    GiveUp,

    /// <summary>The record says, now and for ever: handed off.</summary>
    RecordedHandedOff,

    /// <summary>The record says, now and for ever: cancelled.</summary>
    RecordedCancelled,

    /// <summary>The frozen copy has been killed.</summary>
    Killed,
}

/// <summary>
/// What the source must do, in the order of the bits. When one fails the rest is not done, and <see cref="SourceInput.GiveUp"/> follows.
/// </summary>
[Flags]
internal enum SourceActions
{
    None = 0,

    /// <summary>
    /// Freeze the tasks a second time, so that CRIU's death cannot let them run; then make sure that CRIU held them until they were frozen. If it did
    /// not, they may have run on since the dump and the images are no longer what they are: the action fails.
    /// </summary>
    FreezeAgain = 1,

    /// <summary>Write the record "handed off" unless there is one; go on with what the record then says.</summary>
    RecordHandedOff = 2,

    /// <summary>Write the record "cancelled" unless there is one; go on with what the record then says.</summary>
    RecordCancelled = 4,

    /// <summary>Note beside the record that the right to run came back.</summary>
    RecordReturned = 8,

    /// <summary>Note beside the record that the destination has everything.</summary>
    RecordDrained = 16,

    /// <summary>Answer: you may run.</summary>
    SayYes = 32,

    /// <summary>Answer: you may not run, destroy your copy.</summary>
    SayNo = 64,

    /// <summary>Let CRIU undo the dump and the tasks run.</summary>
    Resume = 128,

    /// <summary>Kill the frozen tasks.</summary>
    Kill = 256,

    /// <summary>Tell the destination that nothing is left here.</summary>
    SayDiscarded = 512,
}

/// <summary>
/// The source's half of the hand-off as a pure function. One rule: at every instant at most one side may run the tasks, and who may is decided by
/// a record on the source that is written once and survives every process. One process at a time may work on a session.
/// </summary>
internal static class SourceHandOff
{
    /// <summary>What follows from <paramref name="input"/> in <paramref name="state"/>. Inputs that mean nothing in a state change nothing.</summary>
    internal static (SourceState State, SourceActions Actions) On(SourceState state, SourceInput input) => (state, input) switch
    {
        (SourceState.Preparing, SourceInput.Dumped) => (SourceState.Frozen, SourceActions.None),
        (SourceState.Frozen, SourceInput.ImagesSent) => (SourceState.Restoring, SourceActions.None),
        // The question proves that the images have arrived; it may overtake the word that they were sent.
        (SourceState.Frozen or SourceState.Restoring, SourceInput.PeerAsks) => (SourceState.Asked, SourceActions.FreezeAgain | SourceActions.RecordHandedOff),

        (SourceState.Preparing or SourceState.Frozen or SourceState.Restoring or SourceState.Asked, SourceInput.GiveUp or SourceInput.PeerNeverRan)
            => (state, SourceActions.RecordCancelled),

        // Whoever wrote it, the record is the decision: it may have been there before we came to write.
        (SourceState.Preparing or SourceState.Frozen or SourceState.Restoring or SourceState.Asked, SourceInput.RecordedCancelled)
            => (SourceState.RolledBack, SourceActions.SayNo | SourceActions.Resume),
        (SourceState.Asked, SourceInput.RecordedHandedOff) => (SourceState.HandedOff, SourceActions.SayYes),

        // The same question gets the same answer for ever.
        (SourceState.HandedOff, SourceInput.PeerAsks) => (state, SourceActions.SayYes),
        (SourceState.RolledBack, SourceInput.PeerAsks) => (state, SourceActions.SayNo),
        (SourceState.Done, SourceInput.PeerDrained) => (state, SourceActions.SayDiscarded),

        (SourceState.HandedOff, SourceInput.PeerNeverRan) => (SourceState.RolledBack, SourceActions.RecordReturned | SourceActions.Resume),
        (SourceState.HandedOff, SourceInput.PeerDrained) => (SourceState.Drained, SourceActions.RecordDrained | SourceActions.Kill),
        (SourceState.Drained, SourceInput.Killed) => (SourceState.Done, SourceActions.SayDiscarded),

        _ => (state, SourceActions.None),
    };

    /// <summary>What to say when a connection to the destination is made anew: whatever was said last may not have been heard.</summary>
    internal static SourceActions Repeat(SourceState state) => state switch
    {
        SourceState.HandedOff => SourceActions.SayYes,
        SourceState.RolledBack => SourceActions.SayNo,
        SourceState.Done => SourceActions.SayDiscarded,
        _ => SourceActions.None,
    };

    /// <summary>
    /// Where a new process stands that finds a session of a dead one: from what was recorded, never from what was only remembered.
    /// </summary>
    internal static (SourceState State, SourceActions Actions) Recover(Decision? decision, bool returned, bool drained, bool tasksExist) => (decision, returned, drained) switch
    {
        (Decision.HandedOff, true, _) => (SourceState.RolledBack, SourceActions.Resume),
        (Decision.HandedOff, _, true) => tasksExist ? (SourceState.Drained, SourceActions.Kill) : (SourceState.Done, SourceActions.None),
        (Decision.HandedOff, _, _) => (SourceState.HandedOff, SourceActions.FreezeAgain),
        (Decision.Cancelled, _, _) => (SourceState.RolledBack, SourceActions.Resume),
        _ => (SourceState.Restoring, SourceActions.RecordCancelled),
    };
}
