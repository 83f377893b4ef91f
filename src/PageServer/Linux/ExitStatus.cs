using System.Globalization;

namespace PostCopy.Linux;

/// <summary>How a child ended: with an exit code, or by a signal (then <see cref="Code"/> is meaningless).</summary>
/// <param name="Code">What it gave to exit(3); 0 when a signal ended it.</param>
/// <param name="Signal">The signal that ended it; 0 when it exited by itself.</param>
internal readonly record struct ExitStatus(int Code, Signal Signal)
{
    /// <summary>It exited by itself, with code 0.</summary>
    public bool IsSuccess => Code == 0 && Signal == 0;

    /// <inheritdoc/>
    public override string ToString() => Signal == 0
        ? string.Create(CultureInfo.InvariantCulture, $"exit code {Code}")
        : string.Create(CultureInfo.InvariantCulture, $"killed by signal {(int)Signal} ({Signal})");
}
