using System.Globalization;
using PostCopy.Linux;

namespace PostCopy.Check;

/// <summary>process_vm_readv(2) on another process: how the source reads the pages it serves. Yama or seccomp may forbid it even to root.</summary>
internal sealed class ProcessVmReadvProbe : HostProbe
{
    // The start of every ELF file, so of a program's first mapping.
    private static readonly byte[] ElfMagic = [0x7f, (byte)'E', (byte)'L', (byte)'F'];

    public override string Id => "process-vm-readv";

    public override string Tried => "read the memory of a throw-away process";

    public override MigrationSides NeededBy => MigrationSides.Source;

    public override async Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        await using ThrowAwayProcess process = ThrowAwayProcess.Start();
        byte[] head = new byte[ElfMagic.Length];
        Errno errno = Read(process.Pid, FirstMapping(process.Pid), head);
        if (errno == Errno.None && head.AsSpan().SequenceEqual(ElfMagic))
            return Ok("read what was there");
        return Missing(
            errno == Errno.None ? "read something else than was there" : $"failed with {errno}",
            "The page server cannot read the memory of a frozen container, so this host cannot be a source.",
            "Grant CAP_SYS_PTRACE, and allow the call in the seccomp profile if this runs in a container.");
    }

    private static ulong FirstMapping(int pid)
    {
        string line = File.ReadLines($"/proc/{pid}/maps").First();
        return ulong.Parse(line.AsSpan(0, line.IndexOf('-', StringComparison.Ordinal)), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
    }

    private static unsafe Errno Read(int pid, ulong address, Span<byte> destination)
    {
        fixed (byte* bytes = destination)
        {
            ProbeCalls.IoVec local = new() { iov_base = (nuint)bytes, iov_len = (nuint)destination.Length };
            ProbeCalls.IoVec remote = new() { iov_base = (nuint)address, iov_len = (nuint)destination.Length };
            return ProbeCalls.process_vm_readv(pid, &local, 1, &remote, 1, 0) >= 0 ? Errno.None : LinuxException.LastErrno;
        }
    }
}
