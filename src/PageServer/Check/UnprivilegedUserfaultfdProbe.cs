namespace PostCopy.Check;

/// <summary>vm.unprivileged_userfaultfd: inside a user namespace CRIU's restore is not privileged in the kernel's eyes.</summary>
internal sealed class UnprivilegedUserfaultfdProbe : HostProbe
{
    private const string Sysctl = "/proc/sys/vm/unprivileged_userfaultfd";

    public override string Id => "unprivileged-userfaultfd";

    public override string Tried => "read vm.unprivileged_userfaultfd";

    public override MigrationSides NeededBy => MigrationSides.Destination;

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        // The sysctl is there since Linux 5.2; before, everybody might.
        string value = File.Exists(Sysctl) ? File.ReadAllText(Sysctl).Trim() : "not restricted";
        return Task.FromResult(value != "0"
            ? Ok(value)
            : Degraded(
                value,
                "Containers with a user namespace of their own cannot be restored lazily here; all others can.",
                "If you have such containers: sysctl -w vm.unprivileged_userfaultfd=1."));
    }
}
