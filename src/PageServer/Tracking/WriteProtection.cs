using Mono.Unix.Native;
using PostCopy.Linux;
using PostCopy.Memory;
using Errno = PostCopy.Linux.Errno;

namespace PostCopy.Tracking;

/// <summary>
/// A userfaultfd of another process in asynchronous write-protect mode: the kernel notes writes and nobody waits (userfaultfd(2), Linux 6.7). Closing it, also
/// by our death, ends the protection and leaves no trace.
/// </summary>
internal sealed unsafe class WriteProtection : IDisposable
{
    private int _descriptor;

    /// <summary>Takes the descriptor over. Throws <see cref="TrackingException"/> when the kernel has no such protection.</summary>
    internal WriteProtection(int descriptor)
    {
        _descriptor = descriptor;
        UffdCalls.uffdio_api api = new() { api = UffdCalls.UFFD_API, features = UffdCalls.WatchesWrites };
        if (Libc.ioctl(descriptor, UffdCalls.UFFDIO_API, &api) < 0)
        {
            LinuxException reason = LinuxException.Last("UFFDIO_API");
            Dispose();
            throw new TrackingException($"this kernel has no asynchronous write protection, which came with Linux 6.7 ({reason.Message})");
        }
    }

    /// <summary>Puts a mapping under protection. False when another userfaultfd has it, when it is gone, or when the address space is.</summary>
    internal bool TryRegister(PageRange range)
    {
        UffdCalls.uffdio_register register = new() { start = range.Start, len = range.ByteCount, mode = UffdCalls.UFFDIO_REGISTER_MODE_WP };
        while (Libc.ioctl(_descriptor, UffdCalls.UFFDIO_REGISTER, &register) < 0)
        {
            if (LinuxException.LastErrno != Errno.EINTR)
            {
                return false;
            }
        }

        return true;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_descriptor >= 0)
        {
            _ = Syscall.close(_descriptor);
            _descriptor = -1;
        }
    }
}
