namespace PostCopy.Check;

/// <summary>/dev/cpu_dma_latency (Documentation/power/pm_qos_interface.rst): keeps idle CPUs from sleeping while pages are owed.</summary>
internal sealed class CpuLatencyProbe : HostProbe
{
    private const string Device = "/dev/cpu_dma_latency";

    public override string Id => "cpu-latency";

    public override string Tried => $"looked for {Device}";

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken) =>
        Task.FromResult(File.Exists(Device)
            ? Ok("there")
            : Degraded(
                "not there",
                "Idle CPUs sleep deeply and take several times longer to answer a page fault.",
                $"Make {Device} visible (in a container: pass the device in), or accept slower page faults."));
}
