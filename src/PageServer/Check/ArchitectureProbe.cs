using System.Runtime.InteropServices;

namespace PostCopy.Check;

/// <summary>The processor: system call numbers and register layouts are known for two.</summary>
internal sealed class ArchitectureProbe : HostProbe
{
    public override string Id => "architecture";

    public override string Tried => "looked at the processor architecture";

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken) =>
        Task.FromResult(RuntimeInformation.ProcessArchitecture switch
        {
            Architecture.X64 => Ok("x86-64"),
            Architecture.Arm64 => Ok("arm64"),
            Architecture other => Missing(
                other.ToString(),
                "System calls and registers are not known for this processor, so nothing can be migrated.",
                "Use a host with an x86-64 or arm64 processor."),
        });
}
