using Microsoft.Win32.SafeHandles;
using Mono.Unix.Native;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Check;

/// <summary>
/// userfaultfd(2) with the features CRIU asks for, and one page fault answered from start to end: a thread hands the missing page to write(2),
/// the kernel faults on it in there, we read the event and install the page, and what was written must be what was installed.
/// </summary>
internal sealed unsafe class UserfaultfdProbe : HostProbe
{
    // EVENT_FORK, EVENT_REMAP, EVENT_REMOVE, EVENT_UNMAP: what CRIU's restore requests.
    private const ulong CriuFeatures = 0x4e;

    private const int TimeLimitMs = 10_000;

    public override string Id => "userfaultfd";

    public override string Tried => "registered a page, had the kernel fault on it, and served it";

    public override MigrationSides NeededBy => MigrationSides.Destination;

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        try
        {
            ServeOneFault();
            return Task.FromResult(Ok($"served one page, features 0x{CriuFeatures:x}"));
        }
        catch (Exception exception) when (exception is LinuxException or TimeoutException)
        {
            bool unknownCall = exception is LinuxException { Errno: Linux.Errno.ENOSYS };
            return Task.FromResult(Missing(
                exception.Message,
                "Lazy pages cannot be served, so this host cannot be a destination.",
                unknownCall
                    ? "Use a kernel built with CONFIG_USERFAULTFD, and a seccomp profile that allows userfaultfd."
                    : "Grant CAP_SYS_PTRACE, and allow userfaultfd in the seccomp profile if this runs in a container."));
        }
    }

    private static void ServeOneFault()
    {
        byte[] pattern = new byte[PageSize.Bytes];
        Random.Shared.NextBytes(pattern);
        using ScratchPage page = ScratchPage.Create(flags: 0, CriuFeatures);
        page.Register(UffdCalls.UFFDIO_REGISTER_MODE_MISSING);

        int fd = Libc.memfd_create("postcopy-check", Libc.MFD_CLOEXEC);
        if (fd < 0)
        {
            throw LinuxException.Last("memfd_create");
        }

        using SafeFileHandle file = new(fd, ownsHandle: true);
        Thread reader = new(() => _ = Syscall.pwrite(fd, (void*)page.Address, (ulong)PageSize.Bytes, 0)) { Name = "postcopy-check" };
        reader.Start();
        try
        {
            AwaitFault(page.UserfaultFd);
            page.Install(pattern);
        }
        finally
        {
            page.StopServing();
            reader.Join();
        }

        byte[] written = new byte[PageSize.Bytes];
        int length = RandomAccess.Read(file, written, 0);
        if (!written.AsSpan(0, length).SequenceEqual(pattern))
        {
            throw new LinuxException("the page that was read is not the one that was served", Linux.Errno.EIO);
        }
    }

    private static void AwaitFault(int userfaultfd)
    {
        Pollfd[] poll = [new Pollfd { fd = userfaultfd, events = PollEvents.POLLIN }];
        int ready;
        do
            ready = Syscall.poll(poll, 1, TimeLimitMs);
        while (ready < 0 && (Linux.Errno)Stdlib.GetLastError() == Linux.Errno.EINTR);
        if (ready != 1)
        {
            throw new TimeoutException($"no page fault was reported within {TimeLimitMs} ms");
        }

        byte* message = stackalloc byte[UffdCalls.UffdMessageBytes];
        long length = Syscall.read(userfaultfd, message, UffdCalls.UffdMessageBytes);
        if (length < 0)
        {
            throw new LinuxException("read of a page fault event", (Linux.Errno)Stdlib.GetLastError());
        }

        if (length != UffdCalls.UffdMessageBytes || *message != UffdCalls.UFFD_EVENT_PAGEFAULT)
        {
            throw new LinuxException($"an event that is no page fault (0x{*message:x}, {length} bytes)", Linux.Errno.EIO);
        }
    }
}
