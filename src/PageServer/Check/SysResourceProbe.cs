namespace PostCopy.Check;

/// <summary>CAP_SYS_RESOURCE: CRIU uses it to lift limits, its own and those of the tasks.</summary>
internal sealed class SysResourceProbe : HostProbe
{
    public override string Id => "sys-resource";

    public override string Tried => "looked for CAP_SYS_RESOURCE among the effective capabilities";

    public override MigrationSides NeededBy => MigrationSides.Source;

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken) =>
        Task.FromResult(host.Capabilities.Has(Capabilities.SysResource)
            ? Ok("held")
            : Degraded(
                "not held",
                "Processes of other users than root can be dumped only inside a user namespace, and the limit on open files bounds how large "
                    + "a container may be.",
                "Give this process CAP_SYS_RESOURCE (systemd: CapabilityBoundingSet=, containers: cap-add), or migrate only containers "
                    + "that run as root."));
}
