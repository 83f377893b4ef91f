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
    // UFFD_FEATURE_WP_ASYNC, UFFD_FEATURE_WP_UNPOPULATED, UFFD_FEATURE_PAGEFAULT_FLAG_WP
    private const ulong Features = (1 << 15) | (1 << 13) | 1;

    private int _descriptor;

    /// <summary>Takes the descriptor over. Throws <see cref="TrackingException"/> when the kernel has no such protection.</summary>
    internal WriteProtection(int descriptor)
    {
        _descriptor = descriptor;
        ProbeCalls.uffdio_api api = new() { api = ProbeCalls.UFFD_API, features = Features };
        if (ProbeCalls.ioctl(descriptor, ProbeCalls.UFFDIO_API, &api) < 0)
        {
            LinuxException reason = LinuxException.Last("UFFDIO_API");
            Dispose();
            throw new TrackingException($"this kernel has no asynchronous write protection, which came with Linux 6.7 ({reason.Message})");
        }
    }

    /// <summary>Puts a mapping under protection. False when another userfaultfd has it, when it is gone, or when the address space is.</summary>
    internal bool TryRegister(PageRange range)
    {
        ProbeCalls.uffdio_register register = new() { start = range.Start, len = range.ByteCount, mode = ProbeCalls.UFFDIO_REGISTER_MODE_WP };
        while (ProbeCalls.ioctl(_descriptor, ProbeCalls.UFFDIO_REGISTER, &register) < 0)
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
