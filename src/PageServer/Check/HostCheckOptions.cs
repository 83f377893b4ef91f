namespace PostCopy.Check;

/// <summary>What to check against.</summary>
public sealed record HostCheckOptions
{
    /// <summary>Where sessions keep their state and images. Defaults to <c>/run/postcopy</c>.</summary>
    public string StateDirectory { get; init; } = "/run/postcopy";

    /// <summary>
    /// Where programs are looked for, in PATH's format. Defaults to what all children of this product get: its private prefix, PATH, and the
    /// sbin directories.
    /// </summary>
    public string? SearchPath { get; init; }

    /// <summary>Longest that one program, or one step of a trial, may take. All of them end within a hundredth of it on a host that is idle.</summary>
    internal TimeSpan StepLimit { get; init; } = TimeSpan.FromSeconds(10);
}
