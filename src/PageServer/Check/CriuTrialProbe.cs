using System.Globalization;
using PostCopy.Linux;

namespace PostCopy.Check;

/// <summary>
/// A real dump and restore of a sleeping process (about 0.1 s): a CRIU that starts may still lack what a container manager or a virtual
/// machine withholds.
/// </summary>
internal sealed class CriuTrialProbe : HostProbe
{
    private const string Consequence = "CRIU cannot dump and restore even a sleeping process here, so no container either.";

    public override string Id => "criu-trial";

    public override string Tried => "dumped and restored a throw-away process";

    public override async Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        if (host.Find("criu") is not string criu)
        {
            return Missing("not tried, for want of CRIU", Consequence, "Install CRIU, see item criu.");
        }

        DirectoryInfo images = Directory.CreateTempSubdirectory($"postcopy-check-{Environment.ProcessId}-");
        try
        {
            long started = Environment.TickCount64;
            await using ThrowAwayProcess process = ThrowAwayProcess.Start();
            string? problem = await DumpAndRestoreAsync(host, criu, process, images.FullName, cancellationToken).ConfigureAwait(false);
            return problem is null
                ? Ok(string.Create(CultureInfo.InvariantCulture, $"works, {Environment.TickCount64 - started} ms"))
                : Missing(problem, Consequence, "Run as root of the host, or give this container the capabilities CRIU's error asks for.");
        }
        finally
        {
            images.Delete(recursive: true);
        }
    }

    private static async Task<string?> DumpAndRestoreAsync(
        HostProbeContext host, string criu, ThrowAwayProcess process, string images, CancellationToken cancellationToken)
    {
        string pid = process.Pid.ToString(CultureInfo.InvariantCulture);
        CapturedChild dump = await host.RunAsync(
            criu, ["dump", "--tree", pid, "--images-dir", images, "--log-file", "dump.log"], cancellationToken).ConfigureAwait(false);
        if (!dump.Status.IsSuccess)
        {
            return $"dump: {dump.Status}: {FirstError(images, "dump.log", dump)}";
        }

        // CRIU has killed it; its pid is free for the restored one only after it was reaped.
        try
        {
            await process.WaitAsync(cancellationToken).WaitAsync(host.StepLimit, CancellationToken.None).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            return "dump claims success, but the process lives on";
        }

        // As a sibling of CRIU the restored process is our child: we reap it, whatever the host's init does with orphans.
        CapturedChild restore = await host.RunAsync(
            criu,
            ["restore", "--restore-detached", "--restore-sibling", "--images-dir", images, "--log-file", "restore.log"],
            cancellationToken).ConfigureAwait(false);
        if (!restore.Status.IsSuccess)
        {
            return $"restore: {restore.Status}: {FirstError(images, "restore.log", restore)}";
        }

        ChildReaper.KillAndReap(process.Pid);
        return null;
    }

    // A CRIU that fails before it opens its log says why on its standard error.
    private static string FirstError(string images, string log, CapturedChild child)
    {
        string path = Path.Combine(images, log);
        IEnumerable<string> lines = File.Exists(path) ? File.ReadLines(path) : child.Error.Split('\n');
        return lines.FirstOrDefault(line => line.Contains("Error", StringComparison.Ordinal)) ?? "it did not say why";
    }
}
