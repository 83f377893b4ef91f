namespace PostCopy.Check;

/// <summary>TCP congestion control: page lanes ask for cubic, which on a LAN or loopback moves more than twice what bbr does.</summary>
internal sealed class CongestionControlProbe : HostProbe
{
    private const string Sysctls = "/proc/sys/net/ipv4/";

    public override string Id => "congestion-control";

    public override string Tried => "read net.ipv4.tcp_available_congestion_control";

    public override MigrationSides NeededBy => MigrationSides.Source;

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        string usual = File.ReadAllText(Sysctls + "tcp_congestion_control").Trim();
        string[] available = File.ReadAllText(Sysctls + "tcp_available_congestion_control").Trim().Split(' ');
        return Task.FromResult(available.Contains("cubic")
            ? Ok(usual == "cubic" ? usual : $"{usual}; page lanes use cubic")
            : Degraded(
                usual,
                "Memory travels with the host's default, which on a fast local network may move less than half of what cubic does.",
                "modprobe tcp_cubic, if the kernel has it."));
    }
}
