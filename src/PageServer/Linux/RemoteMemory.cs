namespace PostCopy.Linux;

/// <summary>Reads memory of another process; where that runs, what is mapped may change at any time.</summary>
internal static unsafe class RemoteMemory
{
    /// <summary>Reads from an address on; returns the bytes up to the first page that cannot be read.</summary>
    /// <exception cref="LinuxException">The process is gone, or may not be read.</exception>
    internal static int Read(int pid, ulong address, Span<byte> destination)
    {
        fixed (byte* target = destination)
        {
            Libc.iovec local = new() { iov_base = (nuint)target, iov_len = (nuint)destination.Length };
            Libc.iovec remote = new() { iov_base = (nuint)address, iov_len = (nuint)destination.Length };
            while (true)
            {
                nint read = Libc.process_vm_readv(pid, &local, 1, &remote, 1, 0);
                if (read >= 0)
                {
                    return (int)read;
                }

                switch (LinuxException.LastErrno)
                {
                    case Errno.EINTR:
                        continue;
                    case Errno.EFAULT:
                        return 0;
                    case var errno:
                        throw new LinuxException($"process_vm_readv of pid {pid} at {address:x}", errno);
                }
            }
        }
    }
}
