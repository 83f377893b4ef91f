namespace PostCopy.Check;

/// <summary>fs.pipe-max-size: CRIU's page server moves pages through pipes of 4 MiB; only CAP_SYS_RESOURCE exempts it from the limit.</summary>
internal sealed class PipeSizeProbe : HostProbe
{
    internal const long CriuPipeBytes = 4L * 1024 * 1024;

    private const string Sysctl = "/proc/sys/fs/pipe-max-size";

    public override string Id => "pipe-size";

    public override string Tried => "read fs.pipe-max-size";

    public override MigrationSides NeededBy => MigrationSides.Source;

    /// <summary>The largest pipe CRIU gets here.</summary>
    internal static long LargestPipeBytes(HostProbeContext host) =>
        host.Capabilities.Has(Capabilities.SysResource) ? CriuPipeBytes : Math.Min(CriuPipeBytes, Limit());

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        string found = $"{Limit() / 1024} KiB" + (host.Capabilities.Has(Capabilities.SysResource) ? ", lifted by CAP_SYS_RESOURCE" : "");
        return Task.FromResult(LargestPipeBytes(host) == CriuPipeBytes
            ? Ok(found)
            : Degraded(
                found,
                "A dump needs up to four times as many open files, and CRIU's own page server cannot serve from this host.",
                $"sysctl -w fs.pipe-max-size={CriuPipeBytes}"));
    }

    private static long Limit() => long.Parse(File.ReadAllText(Sysctl), System.Globalization.CultureInfo.InvariantCulture);
}
