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
        option.Validators.Add(static result =>
        {
            if (result.GetValueOrDefault<double>() is <= 0 or > MaxSeconds)
            {
                result.AddError($"--step-deadline is between 0 and {MaxSeconds} seconds");
            }
        });
        return option;
    }
}
