using System.Runtime.InteropServices;

namespace PostCopy.Linux;

internal static unsafe partial class Libc
{
    internal const int MADV_HUGEPAGE = 14;

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int madvise(nint address, nuint length, int advice);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int ioctl(int fd, nuint request, void* argument);
}
