namespace PostCopy.Check;

/// <summary>
/// The kernel's version, for what cannot be tried on the spot. 5.13: UFFDIO_CONTINUE, by which a userfaultfd is asked whether its address space lives; before it,
/// exited tasks count as alive, and a keeper never ends.
/// </summary>
internal sealed class KernelProbe : HostProbe
{
    private static readonly Version Minimum = new(5, 13);

    public override string Id => "kernel";

    public override string Tried => $"compared the kernel version with the minimum, {Minimum}";

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        string release = File.ReadAllText("/proc/sys/kernel/osrelease").Trim();
        return Task.FromResult(Environment.OSVersion.Version >= Minimum
            ? Ok(release)
            : Missing(
                release,
                "A userfaultfd cannot be asked whether its address space is gone (UFFDIO_CONTINUE), so pages stay owed to processes that have exited.",
                $"Run Linux {Minimum} or newer; 6.6 or newer can poison lost pages, 6.7 or newer can pre-copy too."));
    }
}
