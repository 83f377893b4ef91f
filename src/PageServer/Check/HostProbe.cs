namespace PostCopy.Check;

/// <summary>One thing to try on this host. Whatever it makes it removes, whether it succeeds, fails or is cancelled.</summary>
internal abstract class HostProbe
{
    public abstract string Id { get; }

    public abstract string Tried { get; }

    public virtual MigrationSides NeededBy => MigrationSides.Both;

    public abstract Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken);

    protected HostCheckItem Ok(string found) => new(Id, Tried, NeededBy, HostCheckResult.Ok, Clean(found), null, null);

    protected HostCheckItem Degraded(string found, string consequence, string cure) =>
        new(Id, Tried, NeededBy, HostCheckResult.Degraded, Clean(found), consequence, cure);

    protected HostCheckItem Missing(string found, string consequence, string cure) =>
        new(Id, Tried, NeededBy, HostCheckResult.Missing, Clean(found), consequence, cure);

    /// <summary>The trial itself failed in a way it did not foresee: nothing is known, so nothing is promised.</summary>
    internal HostCheckItem Untried(Exception reason) =>
        Missing(
            reason.Message,
            "It could not be tried, so a migration may fail at this point.",
            "Remove the cause that the error names, then check again.");

    /// <summary>What was found may come from another program: one line, bounded, fit for a terminal and for a peer.</summary>
    private static string Clean(string found)
    {
        string line = string.Concat(found.Select(character => char.IsControl(character) ? ' ' : character)).Trim();
        if (line.Length > HostCheckLimits.MaxTextLength)
        {
            line = line[..HostCheckLimits.MaxTextLength];
        }

        return line.Length > 0 ? line : "nothing";
    }
}
