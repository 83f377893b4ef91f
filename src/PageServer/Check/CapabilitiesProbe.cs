namespace PostCopy.Check;

/// <summary>The capabilities nothing works without.</summary>
internal sealed class CapabilitiesProbe : HostProbe
{
    // CAP_CHECKPOINT_RESTORE is not among them: the kernel takes CAP_SYS_ADMIN in its place (checkpoint_restore_ns_capable), and that one
    // CRIU needs for namespaces and mounts anyway.
    private static readonly Capability[] Needed =
    [
        Capabilities.SysAdmin,
        Capabilities.SysPtrace,
        Capabilities.NetAdmin,
        Capabilities.DacOverride,
        Capabilities.Kill,
        Capabilities.SetUid,
        Capabilities.SetGid,
        Capabilities.SysChroot,
    ];

    public override string Id => "capabilities";

    public override string Tried => "read the effective capabilities from /proc/self/status";

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        string[] missing = [.. Needed.Where(capability => !host.Capabilities.Has(capability)).Select(capability => capability.Name)];
        return Task.FromResult(missing.Length == 0
            ? Ok($"all {Needed.Length} that are needed")
            : Missing(
                $"lacks {string.Join(", ", missing)}",
                "CRIU can neither take a process apart nor rebuild it.",
                "Run it as root with a full set of capabilities (in a container: privileged, or with these capabilities added)."));
    }
}
