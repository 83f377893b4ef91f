namespace PostCopy.Check;

/// <summary>Finds out by trying what this host can do: a version number promises, a page that was really served proves.</summary>
public static class HostCheck
{
    private static readonly HostProbe[] Probes =
    [
        new ArchitectureProbe(),
        new KernelProbe(),
        new RootProbe(),
        new CapabilitiesProbe(),
        new SysResourceProbe(),
        new UserfaultfdProbe(),
        new UnprivilegedUserfaultfdProbe(),
        new DirtyTrackingProbe(),
        new ProcessVmReadvProbe(),
        new FreezerProbe(),
        new CriuProbe(),
        new CriuTrialProbe(),
        new RuncProbe(),
        new BashProbe(),
        new NetworkLockProbe(),
        new StateDirectoryProbe(),
        new OpenFilesProbe(),
        new PipeSizeProbe(),
        new CongestionControlProbe(),
        new CpuLatencyProbe(),
    ];

    /// <summary>
    /// Tries everything, one after the other, within two seconds on a healthy host. It leaves nothing behind, cancelled or not.
    /// It never throws for what it finds: an item says what failed.
    /// </summary>
    public static async Task<HostCheckReport> RunAsync(HostCheckOptions options, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(options);
        HostProbeContext host = new(options);
        List<HostCheckItem> items = [];
        foreach (HostProbe probe in Probes)
        {
            cancellationToken.ThrowIfCancellationRequested();
            try
            {
                items.Add(await probe.TryAsync(host, cancellationToken).ConfigureAwait(false));
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or TimeoutException)
            {
                items.Add(probe.Untried(exception));
            }
        }
        return new HostCheckReport(items);
    }
}
