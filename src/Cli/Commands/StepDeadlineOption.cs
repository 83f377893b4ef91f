using System.CommandLine;

namespace PostCopy.Commands;

/// <summary>The option <c>--step-deadline</c> of both sides.</summary>
internal static class StepDeadlineOption
{
    private const double DefaultSeconds = 120;
    private const double MaxSeconds = 24 * 60 * 60;

    internal static Option<double> ForMigrate() => Create(
        "How many seconds each step before the hand-off may take, CRIU's dump and the restore for example, before the container goes on at the source. The agent waits at least as long.");

    internal static Option<double> ForAgent() => Create(
        "How many seconds each step before the hand-off may take, the source's dump and the restore for example, before the attempt is given up. A source that asks for more gets it, up to a day. " +
        "Copying before the freeze (--pre-copy), and in stop-copy, takes as long as it takes.");

    private static Option<double> Create(string description)
    {
        Option<double> option = new("--step-deadline")
        {
            Description = description,
            HelpName = "SECONDS",
            DefaultValueFactory = static _ => DefaultSeconds,
        };
        option.Require(static seconds => seconds is > 0 and <= MaxSeconds, $"more than 0 and at most {MaxSeconds} seconds");
        return option;
    }
}
