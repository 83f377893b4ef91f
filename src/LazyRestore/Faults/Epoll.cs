using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using PostCopy.Linux;

namespace PostCopy.Faults;

/// <summary>Waits on many userfaultfds (epoll(7), level-triggered, readable) and on an eventfd of its own that ends the wait.</summary>
internal sealed unsafe partial class Epoll : IDisposable
{
    /// <summary>Descriptors reported by one wait; more are reported by the next.</summary>
    private const int MaxReady = 64;

    /// <summary>What <see cref="Wait"/> answers after <see cref="WakeUp"/>.</summary>
    private const int WakeUpId = -1;

    private const int EPOLL_CLOEXEC = 0x80000;
    private const int EPOLL_CTL_ADD = 1;
    private const int EPOLL_CTL_DEL = 2;
    private const uint EPOLLIN = 1;
    private const int EFD_CLOEXEC = 0x80000;

    // struct epoll_event is packed on x86-64 only.
    private static readonly int EventBytes = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 12 : 16;
    private static readonly int DataOffset = EventBytes - 8;

    private readonly SafeFileHandle _epoll;
    private readonly SafeFileHandle _wakeUp;
    private readonly byte[] _ready = new byte[MaxReady * 16];

    public Epoll()
    {
        _epoll = new SafeFileHandle(epoll_create1(EPOLL_CLOEXEC), ownsHandle: true);
        if (_epoll.IsInvalid)
        {
            throw LinuxException.Last("epoll_create1");
        }

        _wakeUp = new SafeFileHandle(eventfd(0, EFD_CLOEXEC), ownsHandle: true);
        if (_wakeUp.IsInvalid)
        {
            throw LinuxException.Last("eventfd");
        }

        Add((int)_wakeUp.DangerousGetHandle(), WakeUpId);
    }

    public void Add(int descriptor, int id)
    {
        byte* item = stackalloc byte[16];
        BinaryPrimitives.WriteUInt32LittleEndian(new Span<byte>(item, 4), EPOLLIN);
        BinaryPrimitives.WriteInt64LittleEndian(new Span<byte>(item + DataOffset, 8), id);
        if (epoll_ctl(_epoll, EPOLL_CTL_ADD, descriptor, item) != 0)
        {
            throw LinuxException.Last($"epoll_ctl(ADD) of descriptor {descriptor}");
        }
    }

    /// <summary>Needed before a close: duplicates in another process would keep a closed descriptor in the set.</summary>
    public void Remove(int descriptor)
    {
        byte* unused = stackalloc byte[16];
        if (epoll_ctl(_epoll, EPOLL_CTL_DEL, descriptor, unused) != 0)
        {
            throw LinuxException.Last($"epoll_ctl(DEL) of descriptor {descriptor}");
        }
    }

    /// <summary>Waits until something is readable; puts the ids of what is into <paramref name="ids"/> and returns their number.</summary>
    public int Wait(Span<int> ids)
    {
        fixed (byte* ready = _ready)
        {
            int count;
            Errno errno;
            do
            {
                count = epoll_wait(_epoll, ready, Math.Min(ids.Length, MaxReady), -1);
                errno = count >= 0 ? Errno.None : LinuxException.LastErrno;
            }
            while (errno == Errno.EINTR);
            if (errno != Errno.None)
            {
                throw new LinuxException("epoll_wait", errno);
            }

            for (int i = 0; i < count; i++)
            {
                ids[i] = (int)BinaryPrimitives.ReadInt64LittleEndian(new ReadOnlySpan<byte>(ready + (i * EventBytes) + DataOffset, 8));
            }

            return count;
        }
    }

    /// <summary>Makes <see cref="Wait"/> return, now and ever after.</summary>
    public void WakeUp()
    {
        ulong one = 1;
        if (write(_wakeUp, &one, sizeof(ulong)) != sizeof(ulong))
        {
            throw LinuxException.Last("write to an eventfd");
        }
    }

    public void Dispose()
    {
        _wakeUp.Dispose();
        _epoll.Dispose();
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_create1(int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int eventfd(uint initval, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_ctl(SafeFileHandle epfd, int op, int fd, void* @event);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_wait(SafeFileHandle epfd, void* events, int maxevents, int timeout);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint write(SafeFileHandle fd, void* buf, nuint count);
}
