namespace PostCopy.Linux;

/// <summary>
/// Keeps idle CPUs of this host from sleeping, for as long as it is held: waking one takes longer than everything else a page fault waits for. It costs
/// power on every idle CPU (and, in a virtual machine, host time).
/// </summary>
/// <remarks>The kernel's PM QoS: a 0 written to <c>/dev/cpu_dma_latency</c> holds while the file is open (Documentation/power/pm_qos_interface.rst).</remarks>
internal sealed class AwakeCpus : IDisposable
{
    private const string Device = "/dev/cpu_dma_latency";
    private readonly FileStream _file;

    private AwakeCpus(FileStream file) => _file = file;

    /// <summary>Null where the kernel or the permissions do not allow it: faults then take longer, and nothing else changes.</summary>
    internal static AwakeCpus? TryHold()
    {
        try
        {
            FileStream file = new(Device, FileMode.Open, FileAccess.Write, FileShare.ReadWrite, bufferSize: 0);
            file.Write(BitConverter.GetBytes(0));
            return new AwakeCpus(file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
