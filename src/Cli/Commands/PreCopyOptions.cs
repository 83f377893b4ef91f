using System.CommandLine;
using PostCopy.Migrate;

namespace PostCopy.Commands;

/// <summary>What <c>migrate</c> is told about copying before the freeze.</summary>
internal sealed class PreCopyOptions
{
    private static readonly MigrationOptions _usual = new() { Destination = Transport.AgentEndpoint.Parse("127.0.0.1:1") };

    private readonly Option<bool> _preCopy = new("--pre-copy")
    {
        Description = "Copy memory while the container runs, and freeze it when little is left: most faults are then served on the destination. Needs Linux 6.7 here.",
    };

    private readonly Option<int> _maxRounds = new("--max-rounds")
    {
        Description = "Rounds of copying before the freeze, at most.",
        HelpName = "N",
        DefaultValueFactory = static _ => _usual.MaxRounds,
    };

    private readonly Option<double> _maxSeconds = new("--max-pre-copy")
    {
        Description = "How long copying before the freeze may take.",
        HelpName = "SECONDS",
        DefaultValueFactory = static _ => _usual.MaxPreCopy.TotalSeconds,
    };

    private readonly Option<double> _maxRate = new("--max-rate")
    {
        Description = "Megabytes (10^6) a second that copying before the freeze may use; 0 for no limit.",
        HelpName = "MB",
    };

    internal PreCopyOptions(Command command)
    {
        command.Add(_preCopy);
        command.Add(_maxRounds);
        command.Add(_maxSeconds);
        command.Add(_maxRate);
        command.Validators.Add(parsed =>
        {
            foreach (Option option in (Option[])[_maxRounds, _maxSeconds, _maxRate])
            {
                if (parsed.GetResult(option) is { Implicit: false } && !parsed.GetValue(_preCopy))
                {
                    parsed.AddError($"{option.Name} says how --pre-copy goes; without that it means nothing");
                }
            }

        });
        _maxRounds.Require(static rounds => rounds >= 1, "1 or more");
        _maxSeconds.Require(static seconds => seconds >= 0, "0 or more");
        _maxRate.Require(static rate => rate >= 0 && double.IsFinite(rate * 1e6), "0 or more");
    }

    internal MigrationOptions Apply(ParseResult parsed, MigrationOptions options) => options with
    {
        PreCopy = parsed.GetValue(_preCopy),
        MaxRounds = parsed.GetValue(_maxRounds),
        MaxPreCopy = TimeSpan.FromSeconds(Math.Min(parsed.GetValue(_maxSeconds), TimeSpan.MaxValue.TotalSeconds / 2)),
        MaxPreCopyRate = parsed.GetValue(_maxRate) * 1e6,
    };
}
