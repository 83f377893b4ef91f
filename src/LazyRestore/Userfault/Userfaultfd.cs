using Microsoft.Win32.SafeHandles;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Userfault;

/// <summary>
/// A userfaultfd whose <c>UFFDIO_API</c> was done by whoever made it (CRIU, or the kernel for a forked child). Every call acts on the address
/// space the descriptor was made in, whichever process calls.
/// </summary>
/// <remarks>
/// Closing the last descriptor unregisters everything: pages that are still missing then read as zeroes. So nothing but an explicit Dispose
/// closes it; a lost reference leaks the descriptor, which is the lesser evil. All calls are thread-safe.
/// </remarks>
internal sealed unsafe class Userfaultfd : SafeHandleZeroOrMinusOneIsInvalid
{
    /// <summary>The usual vm.mmap_min_addr, and above: nothing is mapped below.</summary>
    private const ulong LowestAddress = 64 << 10;

    /// <summary>Takes ownership of <paramref name="descriptor"/>, which must be non-blocking.</summary>
    public Userfaultfd(int descriptor)
        : base(ownsHandle: true)
    {
        SetHandle(descriptor);
        GC.SuppressFinalize(this);
    }

    /// <summary>The number, for epoll and SCM_RIGHTS. Valid until Dispose.</summary>
    public int Descriptor => (int)handle;

    /// <summary>
    /// False once the address space is gone. Asked by a UFFDIO_CONTINUE, which never changes anonymous memory: ESRCH comes before any other answer
    /// about the page (userfaultfd(2); fs/userfaultfd.c takes the mm first).
    /// </summary>
    public bool IsAlive
    {
        get
        {
            UffdNative.uffdio_continue argument = new() { range = Range(ProbedAddress, Environment.SystemPageSize) };
            return Ioctl(UffdNative.UFFDIO_CONTINUE, &argument) != Errno.ESRCH;
        }
    }

    /// <summary>A valid user address on every configuration, mapped or not: above vm.mmap_min_addr, a multiple of 64 KiB pages.</summary>
    private const ulong ProbedAddress = 1UL << 30;

    /// <summary>Fills missing pages with bytes of this process and wakes who waits for them. <paramref name="source"/> need not be aligned.</summary>
    /// <remarks>
    /// EEXIST: the first page is present, nobody was woken. EAGAIN: an address-space change is in flight, read its event first. ENOENT: not inside
    /// one registered mapping. ESRCH, ENOSPC: the address space is gone. ENOMEM: no memory, or the target's memory cgroup is full.
    /// </remarks>
    public UffdResult Copy(ulong destination, byte* source, long byteCount)
    {
        UffdCalls.uffdio_copy argument = new() { dst = destination, src = (ulong)source, len = (ulong)byteCount };
        Errno errno = Ioctl(UffdCalls.UFFDIO_COPY, &argument);
        return Result(errno, argument.copy, byteCount);
    }

    /// <summary>Maps zero pages over missing pages and wakes who waits for them. Answers as <see cref="Copy"/>.</summary>
    public UffdResult ZeroPage(ulong start, long byteCount)
    {
        UffdNative.uffdio_zeropage argument = new() { range = Range(start, byteCount) };
        Errno errno = Ioctl(UffdNative.UFFDIO_ZEROPAGE, &argument);
        return Result(errno, argument.zeropage, byteCount);
    }

    /// <summary>Makes every access to missing pages of the range a SIGBUS, for pages that are lost for good.</summary>
    public UffdResult Poison(ulong start, long byteCount)
    {
        UffdNative.uffdio_poison argument = new() { range = Range(start, byteCount) };
        Errno errno = Ioctl(UffdNative.UFFDIO_POISON, &argument);
        return Result(errno, argument.updated, byteCount);
    }

    /// <summary>Lets threads that wait for the range fault again.</summary>
    public Errno Wake(ulong start, long byteCount)
    {
        UffdNative.uffdio_range argument = Range(start, byteCount);
        return Ioctl(UffdNative.UFFDIO_WAKE, &argument);
    }

    /// <summary>Lets every thread that waits in this address space fault again.</summary>
    public void WakeAll()
    {
        // A range must lie inside the address space, which the kernel does not tell: the widest that it takes (57 bits, 48 and 47 in use).
        foreach (int bits in (ReadOnlySpan<int>)[56, 48, 47])
        {
            ulong end = (1UL << bits) - (ulong)PageSize.Bytes;
            if (Wake(LowestAddress, (long)(end - LowestAddress)) == Errno.None)
            {
                return;
            }
        }
    }

    /// <summary>Gives the range back to the kernel, which fills missing pages with zeroes from then on.</summary>
    public Errno Unregister(ulong start, long byteCount)
    {
        UffdNative.uffdio_range argument = Range(start, byteCount);
        return Ioctl(UffdNative.UFFDIO_UNREGISTER, &argument);
    }

    /// <summary>
    /// Reads pending messages without waiting. Whoever caused a non-fault event runs on from the moment it is read, so the caller must have
    /// stopped all installers before. Returns the number read; zero with <see cref="Errno.None"/> when none is pending.
    /// </summary>
    public int ReadEvents(Span<UffdEvent> events, out Errno errno)
    {
        fixed (UffdEvent* buffer = events)
        {
            nint bytes;
            do
            {
                bytes = UffdNative.read(this, buffer, (nuint)(events.Length * sizeof(UffdEvent)));
                errno = bytes >= 0 ? Errno.None : LinuxException.LastErrno;
            }
            while (errno == Errno.EINTR);
            errno = errno == Errno.EAGAIN ? Errno.None : errno;
            return bytes > 0 ? (int)bytes / sizeof(UffdEvent) : 0;
        }
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => UffdNative.close(handle) == 0;

    private static UffdNative.uffdio_range Range(ulong start, long byteCount) => new() { start = start, len = (ulong)byteCount };

    private Errno Ioctl(uint request, void* argument)
    {
        Errno errno;
        do
        {
            errno = UffdNative.ioctl(this, request, argument) >= 0 ? Errno.None : LinuxException.LastErrno;
        }
        while (errno == Errno.EINTR);
        return errno;
    }

    /// <summary>The kernel answers 0 with all bytes done, EAGAIN with some done, or an errno with its negative in the count.</summary>
    private static UffdResult Result(Errno errno, long done, long asked) =>
        errno == Errno.None ? new UffdResult(asked, errno) : new UffdResult(Math.Max(done, 0), errno);
}
