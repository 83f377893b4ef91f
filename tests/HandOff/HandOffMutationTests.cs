using PostCopy.HandOff;
using PostCopy.Tests.HandOff.Model;
using Xunit.Abstractions;

namespace PostCopy.Tests.HandOff;

/// <summary>The checker can fail: each of these plausible mistakes breaks a promise, and the trace says how.</summary>
public sealed class HandOffMutationTests(ITestOutputHelper output)
{
    [Fact]
    public void Resuming_on_a_timeout_after_the_yes_makes_two_run() => Breaks(Promise.OneRuns, Rules.Real with
    {
        SourceOn = Change((SourceState.HandedOff, SourceInput.GiveUp), (SourceState.RolledBack, SourceActions.SayNo | SourceActions.Resume)),
    });

    [Fact]
    public void Saying_yes_without_the_record_lets_the_copy_run_without_the_word() => Breaks(Promise.NoneRunsWithoutTheWord, Rules.Real with
    {
        SourceOn = Change((SourceState.Restoring, SourceInput.PeerAsks), (SourceState.HandedOff, SourceActions.FreezeAgain | SourceActions.SayYes)),
    });

    [Fact]
    public void Without_a_second_freeze_CRIUs_death_makes_two_run() => Breaks(Promise.OneRuns, Rules.Real with
    {
        SourceOn = (state, input) => SourceHandOff.On(state, input) is var (next, actions) ? (next, actions & ~SourceActions.FreezeAgain) : default,
    });

    [Fact]
    public void Freezing_tasks_that_CRIU_has_already_let_go_forks_history() =>
        Breaks(Promise.OneHistory, Rules.Real with { FreezeAgainChecksTheHold = false });

    [Fact]
    public void Opening_the_fence_before_the_record_lets_a_copy_return_that_ran() => Breaks(Promise.OnlyTheUnrunReturns, Rules.Real with
    {
        DestinationOn = Change((DestinationState.Asking, DestinationInput.PeerSaysYes), (DestinationState.MayRun, DestinationActions.OpenFence)),
    });

    [Fact]
    public void Saying_never_ran_without_destroying_and_opening_on_a_late_yes_makes_two_run() => Breaks(Promise.OneRuns, Rules.Real with
    {
        DestinationOn = (state, input) => (state, input) switch
        {
            (DestinationState.Asking, DestinationInput.GiveUp) => (DestinationState.NeverRan, DestinationActions.SayNeverRan),
            (DestinationState.NeverRan, DestinationInput.PeerSaysYes) => (DestinationState.MayRun, DestinationActions.OpenFence),
            _ => DestinationHandOff.On(state, input),
        },
    });

    [Fact]
    public void Giving_up_behind_the_yes_lets_a_copy_return_that_ran() => Breaks(Promise.OnlyTheUnrunReturns, Rules.Real with
    {
        DestinationOn = Change(
            (DestinationState.MayRun, DestinationInput.GiveUp),
            (DestinationState.NeverRan, DestinationActions.RecordReturned | DestinationActions.Destroy | DestinationActions.SayNeverRan)),
    });

    [Fact]
    public void Killing_when_the_copy_never_ran_loses_both() => Breaks(Promise.KilledOnlyWhenMoved, Rules.Real with
    {
        SourceOn = Change((SourceState.HandedOff, SourceInput.PeerNeverRan), (SourceState.Drained, SourceActions.RecordDrained | SourceActions.Kill)),
    });

    [Fact]
    public void Saying_drained_when_the_copy_starts_kills_pages_still_owed() => Breaks(Promise.KilledOnlyWhenMoved, Rules.Real with
    {
        DestinationOn = Change((DestinationState.MayRun, DestinationInput.Resumed), (DestinationState.Complete, DestinationActions.SayDrained)),
    });

    [Fact]
    public void A_new_source_process_that_resumes_whatever_the_record_says_makes_two_run() => Breaks(Promise.OneRuns, Rules.Real with
    {
        SourceRecover = static (_, _, _, _) => (SourceState.RolledBack, SourceActions.Resume),
    });

    [Fact]
    public void A_new_agent_that_takes_a_missing_stamp_for_proof_lets_a_copy_return_that_ran() => Breaks(Promise.OnlyTheUnrunReturns, Rules.Real with
    {
        DestinationRecover = static (decision, returned, resumed) => decision == DestinationDecision.MayRun && !resumed
            ? (DestinationState.NeverRan, DestinationActions.RecordReturned | DestinationActions.Destroy | DestinationActions.SayNeverRan)
            : DestinationHandOff.Recover(decision, returned, resumed),
    });

    [Fact]
    public void A_destination_that_forgets_that_its_copy_never_ran_leaves_none_running() => Breaks(Promise.OneRunsInTheEnd, Rules.Real with
    {
        DestinationRepeat = static state => state == DestinationState.NeverRan ? DestinationActions.None : DestinationHandOff.Repeat(state),
        SourceRepeat = static state => state == SourceState.HandedOff ? SourceActions.None : SourceHandOff.Repeat(state),
    });

    [Fact]
    public void A_new_source_process_that_does_not_thaw_leaves_none_running() => Breaks(Promise.OneRunsInTheEnd, Rules.Real with
    {
        SourceRecover = static (decision, returned, drained, exist) => decision == Decision.Cancelled
            ? (SourceState.RolledBack, SourceActions.None)
            : SourceHandOff.Recover(decision, returned, drained, exist),
    });

    [Fact]
    public void A_question_that_is_dropped_because_it_came_early_waits_for_a_deadline() => Breaks(Promise.UndisturbedRunsMove, Rules.Real with
    {
        SourceOn = Change((SourceState.Frozen, SourceInput.PeerAsks), (SourceState.Frozen, SourceActions.None)),
    });

    private static Func<SourceState, SourceInput, (SourceState, SourceActions)> Change((SourceState, SourceInput) at, (SourceState, SourceActions) to) =>
        (state, input) => (state, input) == at ? to : SourceHandOff.On(state, input);

    private static Func<DestinationState, DestinationInput, (DestinationState, DestinationActions)> Change(
        (DestinationState, DestinationInput) at, (DestinationState, DestinationActions) to) =>
        (state, input) => (state, input) == at ? to : DestinationHandOff.On(state, input);

    private void Breaks(Promise promise, Rules rules)
    {
        Assert.NotNull(ModelCheck.FirstBroken(rules, out _));
        string? way = ModelCheck.WayToBreak(promise, rules);
        output.WriteLine($"{promise} is broken:\n{way}");
        Assert.NotNull(way);
    }
}
