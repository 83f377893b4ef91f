using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>Sends and receives single bytes with a descriptor beside them (unix(7), SCM_RIGHTS). Nothing is allocated.</summary>
internal static unsafe partial class DescriptorSocket
{
    private const int SOL_SOCKET = 1;
    private const int SCM_RIGHTS = 1;
    private const int MSG_NOSIGNAL = 0x4000;
    private const int MSG_CMSG_CLOEXEC = 0x40000000;
    private const int MSG_CTRUNC = 8;

    /// <summary>CMSG_SPACE(sizeof(int)) on 64-bit Linux.</summary>
    private const int ControlBytes = 24;

    /// <summary>Sends one byte, with a descriptor unless it is negative. Throws <see cref="LinuxException"/>: EPIPE when the other end is gone.</summary>
    internal static void Send(int socket, byte what, int descriptor) => Send(socket, new ReadOnlySpan<byte>(in what), descriptor);

    /// <summary>As the other, with more bytes than one; a stream socket may take fewer than all.</summary>
    internal static void Send(int socket, ReadOnlySpan<byte> data, int descriptor)
    {
        byte* control = stackalloc byte[ControlBytes];
        fixed (byte* bytes = data)
        {
            Send(socket, new iovec { iov_base = bytes, iov_len = (nuint)data.Length }, control, descriptor);
        }
    }

    private static void Send(int socket, iovec vector, byte* control, int descriptor)
    {
        msghdr message = new() { msg_iov = &vector, msg_iovlen = 1 };
        if (descriptor >= 0)
        {
            *(nuint*)control = 20; // CMSG_LEN(sizeof(int))
            *(int*)(control + 8) = SOL_SOCKET;
            *(int*)(control + 12) = SCM_RIGHTS;
            *(int*)(control + 16) = descriptor;
            message.msg_control = control;
            message.msg_controllen = ControlBytes;
        }

        while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
        {
            if (LinuxException.LastErrno != Errno.EINTR)
            {
                throw LinuxException.Last("sendmsg with a descriptor");
            }
        }
    }

    /// <summary>
    /// Receives up to <paramref name="data"/>.Length bytes and the descriptor beside them, if any (else -1), close-on-exec. Returns the number of
    /// bytes; 0 when the other end has closed. The kernel never joins data across a descriptor. Throws <see cref="LinuxException"/> with EMFILE, the message taken, when there
    /// is no number left for the descriptor.
    /// </summary>
    internal static int Receive(int socket, Span<byte> data, out int descriptor)
    {
        byte* control = stackalloc byte[ControlBytes];
        fixed (byte* buffer = data)
        {
            iovec vector = new() { iov_base = buffer, iov_len = (nuint)data.Length };
            msghdr message = new() { msg_iov = &vector, msg_iovlen = 1, msg_control = control, msg_controllen = ControlBytes };
            nint received;
            while ((received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0)
            {
                if (LinuxException.LastErrno != Errno.EINTR)
                {
                    throw LinuxException.Last("recvmsg with a descriptor");
                }
            }

            bool has = message.msg_controllen >= 20 && *(int*)(control + 8) == SOL_SOCKET && *(int*)(control + 12) == SCM_RIGHTS;
            descriptor = has ? *(int*)(control + 16) : -1;
            if ((message.msg_flags & MSG_CTRUNC) != 0)
            {
                // With room for one, none is taken only where there is no number for it (unix(7)).
                throw has
                    ? new IOException("more than one descriptor came in one message")
                    : new LinuxException("a descriptor that came in a message was lost, since this process has as many as it may have (RLIMIT_NOFILE)", Errno.EMFILE);
            }

            return (int)received;
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct iovec
    {
        internal byte* iov_base;
        internal nuint iov_len;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct msghdr
    {
        internal void* msg_name;
        internal uint msg_namelen;
        internal iovec* msg_iov;
        internal nuint msg_iovlen;
        internal void* msg_control;
        internal nuint msg_controllen;
        internal int msg_flags;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint sendmsg(int socket, msghdr* message, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint recvmsg(int socket, msghdr* message, int flags);
}
