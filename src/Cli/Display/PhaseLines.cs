using System.Globalization;
using PostCopy.Migrate;

namespace PostCopy.Display;

/// <summary>One line when a phase begins: for logs and pipes.</summary>
internal sealed class PhaseLines(TextWriter output) : IMigrationDisplay
{
    private MigrationPhase? _phase;
    private string? _trouble;
    private int? _round;

    public void Report(MigrationProgress value)
    {
        if (_phase == value.Phase && _round == value.Round?.Round && (_trouble == value.Trouble || value.Trouble is null))
        {
            return;
        }

        _phase = value.Phase;
        _trouble = value.Trouble;
        _round = value.Round?.Round;
        string pages = value.PagesTotal == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $", {value.PagesRemaining} of {value.PagesTotal} pages owed");
        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{value.Elapsed.TotalSeconds,8:F3} s  {MigrationDisplay.Describe(value.Phase)}{pages}{(value.Round is { } round ? ", " + MigrationDisplay.Describe(round) : "")}{(value.Trouble is null ? "" : "; " + value.Trouble)}"));
    }

    public void Dispose()
    {
    }
}
