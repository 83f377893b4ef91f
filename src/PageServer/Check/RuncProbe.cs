namespace PostCopy.Check;

/// <summary>runc: makes and deletes the containers.</summary>
internal sealed class RuncProbe : HostProbe
{
    public override string Id => "runc";

    public override string Tried => "looked for runc and asked its version";

    public override async Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        const string Consequence = "runc's containers can be neither sent nor received.";
        const string Cure = "Install runc (Debian: apt-get install runc, or eng/setup.sh run).";
        if (host.Find("runc") is not string path)
        {
            return Missing("no runc on PATH", Consequence, Cure);
        }

        Linux.CapturedChild child = await host.RunAsync(path, ["--version"], cancellationToken).ConfigureAwait(false);
        string version = child.Output.Split('\n')[0].Replace("runc version ", "", StringComparison.Ordinal);
        return child.Status.IsSuccess
            ? Ok($"{version} ({path})")
            : Missing($"{path} --version: {child.Status}: {child.Error}", Consequence, Cure);
    }
}
