using Microsoft.Win32.SafeHandles;
using Mono.Unix.Native;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Check;

/// <summary>
/// One private anonymous page and a userfaultfd to register it with. While it is registered and not there, managed code must not touch it:
/// the collector would wait for the faulting thread, and that thread for us. System calls may.
/// </summary>
internal sealed unsafe class ScratchPage : IDisposable
{
    private readonly SafeFileHandle _userfaultfd;

    private ScratchPage(nint address, SafeFileHandle userfaultfd)
    {
        Address = address;
        _userfaultfd = userfaultfd;
    }

    public nint Address { get; }

    public int UserfaultFd => (int)_userfaultfd.DangerousGetHandle();

    /// <summary>Creates the userfaultfd with these features and maps the page; a refusal is thrown, naming the call.</summary>
    public static ScratchPage Create(int flags, ulong features)
    {
        int fd = UffdCalls.userfaultfd(Libc.O_CLOEXEC | UffdCalls.O_NONBLOCK | flags);
        if (fd < 0)
        {
            throw LinuxException.Last("userfaultfd");
        }

        SafeFileHandle userfaultfd = new(fd, ownsHandle: true);
        try
        {
            UffdCalls.uffdio_api api = new() { api = UffdCalls.UFFD_API, features = features };
            Call(fd, UffdCalls.UFFDIO_API, &api, $"UFFDIO_API with features 0x{features:x}");
            nint address = Syscall.mmap(
                0, (ulong)PageSize.Bytes, MmapProts.PROT_READ | MmapProts.PROT_WRITE, MmapFlags.MAP_PRIVATE | MmapFlags.MAP_ANONYMOUS, -1, 0);
            if (address == -1)
            {
                throw new LinuxException("mmap of a page", (Linux.Errno)Stdlib.GetLastError());
            }

            return new ScratchPage(address, userfaultfd);
        }
        catch
        {
            userfaultfd.Dispose();
            throw;
        }
    }

    public void Register(ulong mode)
    {
        UffdCalls.uffdio_register register = new() { start = (ulong)Address, len = (ulong)PageSize.Bytes, mode = mode };
        Call(UserfaultFd, UffdCalls.UFFDIO_REGISTER, &register, "UFFDIO_REGISTER");
    }

    /// <summary>Puts <paramref name="page"/> in place and wakes whoever waits for it.</summary>
    public void Install(ReadOnlySpan<byte> page)
    {
        fixed (byte* source = page)
        {
            UffdCalls.uffdio_copy copy = new() { dst = (ulong)Address, src = (ulong)source, len = (ulong)page.Length };
            Call(UserfaultFd, UffdCalls.UFFDIO_COPY, &copy, "UFFDIO_COPY");
        }
    }

    /// <summary>Lets a thread that waits for the page go: it reads zeroes.</summary>
    public void StopServing() => _userfaultfd.Dispose();

    public void Dispose()
    {
        _userfaultfd.Dispose();
        _ = Syscall.munmap(Address, (ulong)PageSize.Bytes);
    }

    /// <summary>An ioctl(2) that throws; answers what it returned.</summary>
    public static int Call(int fd, nuint request, void* argument, string operation)
    {
        int result;
        while ((result = Libc.ioctl(fd, request, argument)) < 0)
        {
            if (LinuxException.LastErrno is Linux.Errno errno and not Linux.Errno.EINTR)
            {
                throw new LinuxException(operation, errno);
            }
        }
        return result;
    }
}
