using System.Runtime.InteropServices;

namespace PostCopy.Linux;

internal static unsafe partial class Libc
{
    /// <summary>struct iovec (readv(2)).</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct iovec
    {
        internal nuint iov_base;
        internal nuint iov_len;
    }

    /// <summary>
    /// process_vm_readv(2): copies memory of another process. Short count: the first unreadable page was reached. EFAULT: the first page already
    /// is unreadable (also PROT_NONE); ESRCH: no such process; EPERM: no ptrace-read permission.
    /// </summary>
    [LibraryImport("libc", SetLastError = true)]
    internal static partial nint process_vm_readv(int pid, iovec* local, nuint liovcnt, iovec* remote, nuint riovcnt, nuint flags);
}
