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
}
