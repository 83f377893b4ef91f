using System.Text.RegularExpressions;
using PostCopy.Linux;

namespace PostCopy.Check;

/// <summary>CRIU is there, starts, and is new enough for this kernel.</summary>
internal sealed partial class CriuProbe : HostProbe
{
    // Linux 6.16 rejects SO_PASSCRED and SO_PASSSEC on inet sockets; CRIU copes from 4.2 on. Before 4.1 it does not start on current kernels.
    private static readonly Version StrictSockets = new(6, 16);
    private static readonly Version MinimumForStrictSockets = new(4, 2);
    private static readonly Version Minimum = new(4, 1);

    public override string Id => "criu";

    public override string Tried => "looked for CRIU, asked its version, compared it with what this kernel needs";

    internal static Version Wanted(Version kernel) => kernel >= StrictSockets ? MinimumForStrictSockets : Minimum;

    public override async Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        Version wanted = Wanted(Environment.OSVersion.Version);
        string cure = $"Run eng/setup.sh run, or install CRIU {wanted} or newer on PATH.";
        if (host.Find("criu") is not string path)
        {
            return Missing("no criu on PATH", "Without CRIU nothing can be dumped or restored.", cure);
        }

        CapturedChild child = await host.RunAsync(path, ["--version"], cancellationToken).ConfigureAwait(false);
        Match match = VersionLine().Match(child.Output);
        if (!child.Status.IsSuccess || !match.Success)
        {
            return Missing($"{path} --version: {child.Status}: {child.Error}", "This CRIU does not start, so nothing can be dumped or restored.", cure);
        }

        string version = match.Groups["whole"].Value;
        return Version.Parse(match.Groups["majorMinor"].Value) >= wanted
            ? Ok($"{version} ({path})")
            : Missing($"{version} ({path})", "This CRIU cannot dump processes with network sockets on this kernel, or not even start.", cure);
    }

    [GeneratedRegex(@"^Version:\s*(?<whole>(?<majorMinor>\d{1,4}\.\d{1,4})\S*)", RegexOptions.Multiline)]
    private static partial Regex VersionLine();
}
