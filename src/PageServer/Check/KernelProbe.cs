namespace PostCopy.Check;

/// <summary>The kernel's version, for what cannot be tried on the spot. 5.6: pidfd_getfd(2), by which userfaultfds are handed over.</summary>
internal sealed class KernelProbe : HostProbe
{
    private static readonly Version Minimum = new(5, 6);

    public override string Id => "kernel";

    public override string Tried => $"compared the kernel version with the minimum, {Minimum}";

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        string release = File.ReadAllText("/proc/sys/kernel/osrelease").Trim();
        return Task.FromResult(Environment.OSVersion.Version >= Minimum
            ? Ok(release)
            : Missing(
                release,
                "Userfaultfds cannot be handed from process to process (pidfd_getfd), so lazy pages would not survive a crash.",
                $"Run Linux {Minimum} or newer; 6.7 or newer can pre-copy too."));
    }
}
