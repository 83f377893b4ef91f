using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>Native declarations of what <c>postcopy check</c> tries: userfaultfd(2), PAGEMAP_SCAN, process_vm_readv(2).</summary>
internal static unsafe partial class ProbeCalls
{
    internal const int O_NONBLOCK = 0x800;
    internal const int UFFD_USER_MODE_ONLY = 1;

    // linux/userfaultfd.h
    internal const nuint UFFDIO_API = 0xc018aa3f;
    internal const nuint UFFDIO_REGISTER = 0xc020aa00;
    internal const nuint UFFDIO_COPY = 0xc028aa03;
    internal const ulong UFFD_API = 0xAA;
    internal const ulong UFFDIO_REGISTER_MODE_MISSING = 1;
    internal const ulong UFFDIO_REGISTER_MODE_WP = 2;
    internal const byte UFFD_EVENT_PAGEFAULT = 0x12;
    internal const int UffdMessageBytes = 32;

    // linux/fs.h
    internal const nuint PAGEMAP_SCAN = 0xc0606610;
    internal const ulong PM_SCAN_WP_MATCHING = 1;
    internal const ulong PM_SCAN_CHECK_WPASYNC = 2;
    internal const ulong PAGE_IS_WRITTEN = 2;
    internal const ulong PAGE_IS_PRESENT = 8;
    internal const ulong PAGE_IS_SWAPPED = 0x10;

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
        internal long copy;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct pm_scan_arg
    {
        internal ulong size, flags, start, end, walk_end, vec, vec_len, max_pages;
        internal ulong category_inverted, category_mask, category_anyof_mask, return_mask;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct page_region
    {
        internal ulong start, end, categories;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct IoVec
    {
        internal nuint iov_base, iov_len;
    }

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int ioctl(int fd, nuint request, void* argument);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint process_vm_readv(
        int pid, IoVec* local, nuint localCount, IoVec* remote, nuint remoteCount, nuint flags);

    internal const int MADV_HUGEPAGE = 14;

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int madvise(nint address, nuint length, int advice);

    internal static int userfaultfd(int flags) => (int)Libc.syscall(SYS_userfaultfd, flags, 0, 0, 0);
}
