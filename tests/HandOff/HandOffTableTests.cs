using PostCopy.HandOff;
using static PostCopy.HandOff.DestinationActions;
using static PostCopy.HandOff.SourceActions;

namespace PostCopy.Tests.HandOff;

/// <summary>Start reading here: the stories of a migration, as both sides live them. That they fit together is the model's business.</summary>
public sealed class HandOffTableTests
{
    [Fact]
    public void The_source_moves_a_container() => SourceLives(
        SourceState.Preparing,
        (SourceInput.Dumped, SourceState.Frozen, SourceActions.None),
        (SourceInput.ImagesSent, SourceState.Restoring, SourceActions.None),
        (SourceInput.PeerAsks, SourceState.Asked, FreezeAgain | RecordHandedOff),
        (SourceInput.RecordedHandedOff, SourceState.HandedOff, SayYes),
        (SourceInput.PeerDrained, SourceState.Drained, RecordDrained | Kill),
        (SourceInput.Killed, SourceState.Done, SayDiscarded));

    [Fact]
    public void The_destination_receives_a_container() => DestinationLives(
        DestinationState.Receiving,
        (DestinationInput.ImagesComplete, DestinationState.Building, Build),
        (DestinationInput.FenceReached, DestinationState.Asking, Ask),
        (DestinationInput.PeerSaysYes, DestinationState.Asking, RecordMayRun),
        (DestinationInput.RecordedMayRun, DestinationState.MayRun, OpenFence),
        (DestinationInput.Resumed, DestinationState.Running, DestinationActions.None),
        (DestinationInput.AllPagesIn, DestinationState.Complete, SayDrained),
        (DestinationInput.PeerDiscarded, DestinationState.Done, DestinationActions.None));

    [Theory]
    [InlineData(SourceState.Preparing)]
    [InlineData(SourceState.Frozen)]
    [InlineData(SourceState.Restoring)]
    public void Until_the_yes_the_source_may_give_up(object state) => SourceLives(
        (SourceState)state,
        (SourceInput.GiveUp, (SourceState)state, RecordCancelled),
        (SourceInput.RecordedCancelled, SourceState.RolledBack, SayNo | Resume),
        (SourceInput.PeerAsks, SourceState.RolledBack, SayNo));

    [Fact]
    public void After_the_yes_the_source_does_not_give_up_and_answers_the_same_for_ever() => SourceLives(
        SourceState.HandedOff,
        (SourceInput.GiveUp, SourceState.HandedOff, SourceActions.None),
        (SourceInput.PeerAsks, SourceState.HandedOff, SayYes));

    [Fact]
    public void The_right_to_run_comes_back_only_from_a_copy_that_never_ran() => SourceLives(
        SourceState.HandedOff,
        (SourceInput.PeerNeverRan, SourceState.RolledBack, SourceActions.RecordReturned | Resume));

    [Fact]
    public void The_record_decides_also_against_its_writer()
    {
        SourceLives(SourceState.Asked, (SourceInput.RecordedCancelled, SourceState.RolledBack, SayNo | Resume));
        DestinationLives(DestinationState.Asking, (DestinationInput.RecordedNeverRan, DestinationState.NeverRan, Destroy | SayNeverRan));
    }

    [Fact]
    public void Until_the_yes_the_destination_may_give_up_and_a_late_yes_changes_nothing() => DestinationLives(
        DestinationState.Asking,
        (DestinationInput.GiveUp, DestinationState.Asking, RecordNeverRan),
        (DestinationInput.RecordedNeverRan, DestinationState.NeverRan, Destroy | SayNeverRan),
        (DestinationInput.PeerSaysYes, DestinationState.NeverRan, SayNeverRan));

    [Fact]
    public void After_the_yes_only_a_proof_lets_the_destination_give_the_right_back() => DestinationLives(
        DestinationState.MayRun,
        (DestinationInput.GiveUp, DestinationState.MayRun, DestinationActions.None),
        (DestinationInput.BuildFailed, DestinationState.MayRun, DestinationActions.None),
        (DestinationInput.FailedUnrun, DestinationState.NeverRan, DestinationActions.RecordReturned | Destroy | SayNeverRan));

    [Fact]
    public void A_new_source_process_goes_by_the_records()
    {
        Assert.Equal((SourceState.Restoring, RecordCancelled), SourceHandOff.Recover(null, returned: false, drained: false, tasksExist: true));
        Assert.Equal((SourceState.RolledBack, Resume), SourceHandOff.Recover(Decision.Cancelled, returned: false, drained: false, tasksExist: true));
        Assert.Equal((SourceState.HandedOff, FreezeAgain), SourceHandOff.Recover(Decision.HandedOff, returned: false, drained: false, tasksExist: true));
        Assert.Equal((SourceState.RolledBack, Resume), SourceHandOff.Recover(Decision.HandedOff, returned: true, drained: false, tasksExist: true));
        Assert.Equal((SourceState.Drained, Kill), SourceHandOff.Recover(Decision.HandedOff, returned: false, drained: true, tasksExist: true));
        Assert.Equal((SourceState.Done, SourceActions.None), SourceHandOff.Recover(Decision.HandedOff, returned: false, drained: true, tasksExist: false));
    }

    [Fact]
    public void A_new_agent_goes_by_the_records()
    {
        Assert.Equal((DestinationState.Building, RecordNeverRan), DestinationHandOff.Recover(null, returned: false, resumed: false));
        Assert.Equal((DestinationState.NeverRan, Destroy | SayNeverRan), DestinationHandOff.Recover(DestinationDecision.NeverRan, returned: false, resumed: false));
        Assert.Equal((DestinationState.NeverRan, Destroy | SayNeverRan), DestinationHandOff.Recover(DestinationDecision.MayRun, returned: true, resumed: false));
        Assert.Equal((DestinationState.MayRun, OpenFence), DestinationHandOff.Recover(DestinationDecision.MayRun, returned: false, resumed: false));
        Assert.Equal((DestinationState.Running, DestinationActions.None), DestinationHandOff.Recover(DestinationDecision.MayRun, returned: false, resumed: true));
    }

    private static void SourceLives(SourceState state, params (SourceInput Input, SourceState State, SourceActions Actions)[] story)
    {
        foreach ((SourceInput input, SourceState next, SourceActions actions) in story)
        {
            Assert.Equal((next, actions), SourceHandOff.On(state, input));
            state = next;
        }
    }

    private static void DestinationLives(DestinationState state, params (DestinationInput Input, DestinationState State, DestinationActions Actions)[] story)
    {
        foreach ((DestinationInput input, DestinationState next, DestinationActions actions) in story)
        {
            Assert.Equal((next, actions), DestinationHandOff.On(state, input));
            state = next;
        }
    }
}
