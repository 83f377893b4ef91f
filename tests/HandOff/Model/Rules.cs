using PostCopy.HandOff;

namespace PostCopy.Tests.HandOff.Model;

/// <summary>The functions under test. The real ones, unless a test breaks one of them to see the checker notice.</summary>
internal sealed record Rules
{
    internal static Rules Real { get; } = new();

    internal Func<SourceState, SourceInput, (SourceState State, SourceActions Actions)> SourceOn { get; init; } = SourceHandOff.On;

    internal Func<Decision?, bool, bool, bool, (SourceState State, SourceActions Actions)> SourceRecover { get; init; } = SourceHandOff.Recover;

    internal Func<SourceState, SourceActions> SourceRepeat { get; init; } = SourceHandOff.Repeat;

    internal Func<DestinationState, DestinationInput, (DestinationState State, DestinationActions Actions)> DestinationOn { get; init; } = DestinationHandOff.On;

    internal Func<DestinationDecision?, bool, bool, (DestinationState State, DestinationActions Actions)> DestinationRecover { get; init; } = DestinationHandOff.Recover;

    internal Func<DestinationState, DestinationActions> DestinationRepeat { get; init; } = DestinationHandOff.Repeat;

    /// <summary>The contract of <see cref="SourceActions.FreezeAgain"/>: it fails when CRIU no longer holds the tasks once they are frozen.</summary>
    internal bool FreezeAgainChecksTheHold { get; init; } = true;
}
