using PostCopy.HandOff;
using PostCopy.Transport;

namespace PostCopy.Agent;

/// <summary>How long each step before the hand-off may take.</summary>
internal sealed partial class AgentSession
{
    private Timer? _deadline;
    private bool _isFreezing;
    private bool _imagesCome;

    /// <summary>
    /// The agent's own, or the source's if that one is longer. A session keeps one of the agent's places meanwhile, but only for as long as its source is there: a
    /// connection that breaks, or falls silent, before the hand-off ends the session at once.
    /// </summary>
    private TimeSpan StepDeadline
    {
        get
        {
            TimeSpan asked = TimeSpan.FromMilliseconds(Math.Min(_container.StepDeadlineMs, (ulong)OptionRange.LongestStep.TotalMilliseconds));
            return asked > _options.StepDeadline ? asked : _options.StepDeadline;
        }
    }

    /// <summary>The step that has begun; the second is false where it takes as long as it takes: copying before the freeze, and in stop-copy.</summary>
    private (string Name, bool IsLimited) Step => _state switch
    {
        DestinationState.Receiving when _imagesCome => ("receiving the images", !_container.StopCopy),
        DestinationState.Receiving when _isFreezing => ("the dump on the source", true),
        DestinationState.Receiving => ("what the source does before the freeze", !_container.PreCopy),
        DestinationState.Building => ("the restore on the destination", true),
        DestinationState.Asking => ("the source's word whether it may run", _asked || !_container.StopCopy),
        _ => ("", false),
    };

    private void StartDeadline()
    {
        _deadline = new Timer(_ => Post(new SessionEvent.GiveUp($"{Step.Name} took longer than {StepDeadline.TotalSeconds} s")), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        BeginStep();
    }

    private void EndDeadline()
    {
        _deadline?.Dispose();
        _deadline = null;
    }

    private void BeginStep() => _deadline?.Change(Step.IsLimited ? StepDeadline : Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);

    /// <summary>What was sent before it was sent early: CRIU's images come when it has dumped.</summary>
    private void HearOfFreeze()
    {
        _isFreezing = true;
        _imagesCome = false;
        BeginStep();
    }

    /// <summary>Of those that announce no freeze it is the images that tell of it.</summary>
    private void HearOfImages()
    {
        if (!_imagesCome)
        {
            _isFreezing = _imagesCome = true;
            BeginStep();
        }
    }
}
