namespace PostCopy.Check;

/// <summary>bash: CRIU's hooks are small shell scripts, since starting anything heavier would lengthen the downtime.</summary>
internal sealed class BashProbe : HostProbe
{
    public override string Id => "bash";

    public override string Tried => "looked for bash and ran a line of it";

    public override async Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        const string Consequence = "CRIU's hooks cannot run, and without them there is no safe hand-off.";
        const string Cure = "Install bash (Debian: apt-get install bash).";
        if (host.Find("bash") is not string path)
        {
            return Missing("no bash on PATH", Consequence, Cure);
        }

        Linux.CapturedChild child = await host.RunAsync(path, ["--norc", "-c", "echo $BASH_VERSION"], cancellationToken).ConfigureAwait(false);
        return child.Status.IsSuccess
            ? Ok($"{child.Output.Trim()} ({path})")
            : Missing($"{path}: {child.Status}: {child.Error}", Consequence, Cure);
    }
}
