namespace PostCopy.Check;

/// <summary>Root: CRIU restores processes of any owner.</summary>
internal sealed class RootProbe : HostProbe
{
    public override string Id => "root";

    public override string Tried => "looked at the effective user";

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken) =>
        Task.FromResult(Environment.IsPrivilegedProcess
            ? Ok("uid 0")
            : Missing(
                $"user {Environment.UserName}",
                "CRIU and runc refuse to checkpoint and restore containers for other users than root.",
                "Run it as root, for example with sudo."));
}
