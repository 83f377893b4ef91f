using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>Making a userfaultfd and putting memory under it (linux/userfaultfd.h, ioctl_userfaultfd(2)). Numbers and layouts are the same on x86-64 and arm64.</summary>
internal static class UffdCalls
{
    internal const int O_NONBLOCK = 0x800;
    internal const int UFFD_USER_MODE_ONLY = 1;

    internal const nuint UFFDIO_API = 0xc018aa3f;
    internal const nuint UFFDIO_REGISTER = 0xc020aa00;
    internal const uint UFFDIO_COPY = 0xc028aa03;
    internal const ulong UFFD_API = 0xAA;
    internal const ulong UFFDIO_REGISTER_MODE_MISSING = 1;
    internal const ulong UFFDIO_REGISTER_MODE_WP = 2;
    internal const byte UFFD_EVENT_PAGEFAULT = 0x12;
    internal const int UffdMessageBytes = 32;

    /// <summary>
    /// What watching writes needs, from Linux 6.7 on: UFFD_FEATURE_WP_ASYNC, UFFD_FEATURE_WP_UNPOPULATED and UFFD_FEATURE_PAGEFAULT_FLAG_WP.
    /// </summary>
    internal const ulong WatchesWrites = (1 << 15) | (1 << 13) | 1;

    private static readonly nint SYS_userfaultfd = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 323 : 282;

    [StructLayout(LayoutKind.Sequential)]
    internal struct uffdio_api
    {
        internal ulong api, features, ioctls;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct uffdio_register
    {
        internal ulong start, len, mode, ioctls;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct uffdio_copy
    {
        internal ulong dst, src, len, mode;

        /// <summary>Bytes copied, or -errno.</summary>
        internal long copy;
    }

    internal static int userfaultfd(int flags) => (int)Libc.syscall(SYS_userfaultfd, flags, 0, 0, 0);
}
