using System.Globalization;

namespace PostCopy.Check;

/// <summary>The freezer holds the source's tasks still from the hand-off on, even when CRIU dies.</summary>
internal sealed class FreezerProbe : HostProbe
{
    private const string Consequence = "Frozen tasks would run on if CRIU died after the hand-off, so no hand-off is made from or to this host.";
    private const string Cure = "Mount a cgroup v2 or a cgroup v1 freezer hierarchy writable from its root on (in a container: run it privileged, and with a cgroup namespace of its own).";

    public override string Id => "freezer";

    public override string Tried => "froze and thawed a throw-away process in a cgroup of its own";

    public override async Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        try
        {
            await using TrialCgroup cgroup = TrialCgroup.Create();
            await using ThrowAwayProcess process = ThrowAwayProcess.Start();
            long started = Environment.TickCount64;
            cgroup.Add(process.Pid);
            try
            {
                await cgroup.FreezeAsync(cancellationToken).ConfigureAwait(false);
            }
            finally
            {
                // Also when freezing was given up: in version 1 not even SIGKILL ends a frozen process.
                cgroup.Thaw();
            }
            await cgroup.WaitThawedAsync(cancellationToken).ConfigureAwait(false);
            return Ok(string.Create(
                CultureInfo.InvariantCulture, $"cgroup {(cgroup.IsV2 ? "v2" : "v1")}, {Environment.TickCount64 - started} ms"));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or TimeoutException)
        {
            return Missing(exception.Message, Consequence, Cure);
        }
    }
}
