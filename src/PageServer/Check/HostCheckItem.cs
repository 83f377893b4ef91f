namespace PostCopy.Check;

/// <summary>One thing that was tried on a host.</summary>
/// <param name="Id">Stable name, kebab-case; scripts may rely on it.</param>
/// <param name="Tried">What was done to find out.</param>
/// <param name="NeededBy">The sides of a migration that need it.</param>
/// <param name="Result">How it ended.</param>
/// <param name="Found">What was found: a version, a path, an error.</param>
/// <param name="Consequence">When not <see cref="HostCheckResult.Ok"/>: what will not work. One sentence.</param>
/// <param name="Cure">When not <see cref="HostCheckResult.Ok"/>: what to do about it. One sentence.</param>
public sealed record HostCheckItem(
    string Id,
    string Tried,
    MigrationSides NeededBy,
    HostCheckResult Result,
    string Found,
    string? Consequence,
    string? Cure);
