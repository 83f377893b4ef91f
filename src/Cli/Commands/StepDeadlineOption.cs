using System.CommandLine;

namespace PostCopy.Commands;

/// <summary>The option <c>--step-deadline</c>, the same on both sides.</summary>
internal static class StepDeadlineOption
{
    private const double DefaultSeconds = 120;
    private const double MaxSeconds = 24 * 60 * 60;

    internal static Option<double> Create()
    {
        Option<double> option = new("--step-deadline")
        {
            Description = "How many seconds each step before the hand-off may take, CRIU's dump and restore for example, before the container goes on at the source.",
            HelpName = "SECONDS",
            DefaultValueFactory = static _ => DefaultSeconds,
        };
        option.Require(static seconds => seconds is > 0 and <= MaxSeconds, $"more than 0 and at most {MaxSeconds} seconds");
        return option;
    }
}
