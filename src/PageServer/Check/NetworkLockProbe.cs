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
        const string Cure = "Install iptables (Debian: apt-get install iptables), or put \"network-lock nftables\" into /etc/criu/default.conf.";
        string? problem = await ProblemAsync(host, "iptables-restore", cancellationToken).ConfigureAwait(false)
            ?? await ProblemAsync(host, "ip6tables-restore", cancellationToken).ConfigureAwait(false);
        if (problem is null)
            return Ok("iptables-restore and ip6tables-restore work");

        if (host.Find("criu") is string criu)
        {
            CapturedChild child = await host.RunAsync(criu, ["check", "--feature", "network_lock_nftables"], cancellationToken).ConfigureAwait(false);
            if (child.Status.IsSuccess)
                return Degraded($"{problem}; nftables works", "Containers with a network of their own move only if CRIU is told to use nftables.", Cure);
        }
        return Missing(problem, "Containers with a network of their own can be neither dumped nor restored.", Cure);
    }

    private static async Task<string?> ProblemAsync(HostProbeContext host, string program, CancellationToken cancellationToken)
    {
        if (host.Find(program) is not string path)
            return $"no {program} on PATH";
        CapturedChild child = await host.RunAsync(path, ["--noflush", "--test"], cancellationToken, EmptyChange).ConfigureAwait(false);
        return child.Status.IsSuccess ? null : $"{path}: {child.Status}: {child.Error}";
    }
}
