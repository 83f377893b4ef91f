using PostCopy.Linux;

namespace PostCopy.Check;

/// <summary>
/// The network lock: CRIU drops all packets of a container's network namespace while it is taken apart or rebuilt, or TCP peers would see
/// resets. It does so with iptables-restore unless told to use nftables, which it then reaches through a library.
/// </summary>
internal sealed class NetworkLockProbe : HostProbe
{
    private const string EmptyChange = "*filter\nCOMMIT\n";

    public override string Id => "network-lock";

    public override string Tried => "tested an empty rule change with iptables-restore and ip6tables-restore";

    public override async Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        if (host.Find("nsenter") is null)
        {
            return Degraded("no nsenter on PATH", "CRIU's lock stays in a network namespace that a moved container leaves behind.", "Install util-linux.");
        }

        // CRIU leaves IPv6 alone where the kernel has none.
        bool hasIpv6 = Directory.Exists("/proc/sys/net/ipv6");
        (string Found, string Cure)? problem = await ProblemAsync(host, "iptables-restore", cancellationToken).ConfigureAwait(false)
            ?? (hasIpv6 ? await ProblemAsync(host, "ip6tables-restore", cancellationToken).ConfigureAwait(false) : null);
        if (problem is not (string found, string cure))
        {
            return Ok(hasIpv6 ? "iptables-restore and ip6tables-restore work" : "iptables-restore works, and this kernel has no IPv6");
        }

        if (host.Find("criu") is string criu && host.Find("nft") is not null)
        {
            CapturedChild child = await host.RunAsync(criu, ["check", "--feature", "network_lock_nftables"], cancellationToken).ConfigureAwait(false);
            if (child.Status.IsSuccess)
            {
                return Degraded($"{found}; nftables works", "Containers with a network of their own move only if CRIU is told to use nftables.", cure);
            }
        }
        return Missing(found, "Containers with a network of their own can be neither dumped nor restored.", cure);
    }

    private static async Task<(string Found, string Cure)?> ProblemAsync(HostProbeContext host, string program, CancellationToken cancellationToken)
    {
        const string UseNftables = "install nftables and put \"network-lock nftables\" into /etc/criu/default.conf";
        if (host.Find(program) is not string path)
        {
            return ($"no {program} on PATH", $"Install iptables (Debian: apt-get install iptables), or {UseNftables}.");
        }

        CapturedChild child = await host.RunAsync(path, ["--noflush", "--test"], cancellationToken, EmptyChange).ConfigureAwait(false);
        return child.Status.IsSuccess
            ? null
            : ($"{path}: {child.Status}: {child.Error}", $"Run as root with CAP_NET_ADMIN and load the kernel's netfilter modules, or {UseNftables}.");
    }
}
