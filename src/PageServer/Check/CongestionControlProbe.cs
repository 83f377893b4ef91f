namespace PostCopy.Check;

/// <summary>The default TCP congestion control: for memory pushed over a LAN or loopback, cubic moves more than twice what bbr does.</summary>
internal sealed class CongestionControlProbe : HostProbe
{
    private const string Sysctl = "/proc/sys/net/ipv4/tcp_congestion_control";

    public override string Id => "congestion-control";

    public override string Tried => "read net.ipv4.tcp_congestion_control";

    public override MigrationSides NeededBy => MigrationSides.Source;

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        string algorithm = File.ReadAllText(Sysctl).Trim();
        return Task.FromResult(algorithm.StartsWith("bbr", StringComparison.Ordinal)
            ? Degraded(
                algorithm,
                "bbr paces what it sends: on a fast local network memory moves at less than half the rate of cubic.",
                "Between hosts of one site: sysctl -w net.ipv4.tcp_congestion_control=cubic; across a lossy long line leave it.")
            : Ok(algorithm));
    }
}
