using System.Globalization;
using PostCopy.Linux;

namespace PostCopy.Check;

/// <summary>process_vm_readv(2) on another process: how the source reads the pages it serves. Yama or seccomp may forbid it even to root.</summary>
internal sealed class ProcessVmReadvProbe : HostProbe
{
    // The start of every ELF file, so of a program's image in memory.
    private static readonly byte[] ElfMagic = [0x7f, (byte)'E', (byte)'L', (byte)'F'];

    private static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(10);

    public override string Id => "process-vm-readv";

    public override string Tried => "read the memory of a throw-away process";

    public override MigrationSides NeededBy => MigrationSides.Source;

    public override async Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        await using ThrowAwayProcess process = ThrowAwayProcess.Start();
        byte[] head = new byte[ElfMagic.Length];
        Errno errno = Read(process.Pid, await ImageStartAsync(process.Pid, cancellationToken).ConfigureAwait(false), head);
        if (errno == Errno.None && head.AsSpan().SequenceEqual(ElfMagic))
        {
            return Ok("read what was there");
        }

        return Missing(
            errno == Errno.None ? "read something else than was there" : $"failed with {errno}",
            "The page server cannot read the memory of a frozen container, so this host cannot be a source.",
            "Grant CAP_SYS_PTRACE, and allow the call in the seccomp profile if this runs in a container.");
    }

    /// <summary>Where the program's file starts in memory. It is waited for: a child's start returns before its file is mapped.</summary>
    private static async Task<ulong> ImageStartAsync(int pid, CancellationToken cancellationToken)
    {
        long deadline = Environment.TickCount64 + (long)TimeLimit.TotalMilliseconds;
        while (true)
        {
            // "55d0c8a00000-55d0c8a02000 r--p 00000000 08:01 1234    /usr/bin/sleep", with the file's offset in third place
            string program = File.ResolveLinkTarget($"/proc/{pid}/exe", returnFinalTarget: false)?.FullName ?? "";
            string? line = File.ReadLines($"/proc/{pid}/maps").FirstOrDefault(
                text => program.Length > 0 && text.EndsWith(program, StringComparison.Ordinal) && text.Contains(" 00000000 ", StringComparison.Ordinal));
            if (line is not null)
            {
                return ulong.Parse(line.AsSpan(0, line.IndexOf('-', StringComparison.Ordinal)), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            }

            if (Environment.TickCount64 > deadline)
            {
                throw new TimeoutException($"The program of process {pid} was not mapped within {TimeLimit.TotalSeconds} s.");
            }

            await Task.Delay(1, cancellationToken).ConfigureAwait(false);
        }
    }

    private static unsafe Errno Read(int pid, ulong address, Span<byte> destination)
    {
        fixed (byte* bytes = destination)
        {
            Libc.iovec local = new() { iov_base = (nuint)bytes, iov_len = (nuint)destination.Length };
            Libc.iovec remote = new() { iov_base = (nuint)address, iov_len = (nuint)destination.Length };
            return Libc.process_vm_readv(pid, &local, 1, &remote, 1, 0) >= 0 ? Errno.None : LinuxException.LastErrno;
        }
    }
}
