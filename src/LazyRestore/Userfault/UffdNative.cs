using System.Runtime.InteropServices;

namespace PostCopy.Userfault;

/// <summary>What a userfaultfd does with pages beyond <see cref="Linux.UffdCalls"/> (linux/userfaultfd.h, ioctl_userfaultfd(2)). Numbers and layouts are the same on x86-64 and arm64.</summary>
internal static unsafe partial class UffdNative
{
    public const uint UFFDIO_UNREGISTER = 0x8010aa01;
    public const uint UFFDIO_WAKE = 0x8010aa02;
    public const uint UFFDIO_ZEROPAGE = 0xc020aa04;
    public const uint UFFDIO_CONTINUE = 0xc020aa07;
    public const uint UFFDIO_POISON = 0xc020aa08;

    [StructLayout(LayoutKind.Sequential)]
    public struct uffdio_range
    {
        public ulong start;
        public ulong len;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct uffdio_zeropage
    {
        public uffdio_range range;
        public ulong mode;

        /// <summary>Bytes zeroed, or -errno.</summary>
        public long zeropage;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct uffdio_continue
    {
        public uffdio_range range;
        public ulong mode;

        /// <summary>Bytes mapped, or -errno.</summary>
        public long mapped;
    }

    [StructLayout(LayoutKind.Sequential)]
    public struct uffdio_poison
    {
        public uffdio_range range;
        public ulong mode;

        /// <summary>Bytes poisoned, or -errno.</summary>
        public long updated;
    }

    /// <summary>Sleeps in the kernel (page allocation, the target's mmap_lock), so the thread must be in preemptive mode: never SuppressGCTransition.</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int ioctl(Userfaultfd fd, nuint request, void* argument);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint read(Userfaultfd fd, void* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int close(nint fd);
}
