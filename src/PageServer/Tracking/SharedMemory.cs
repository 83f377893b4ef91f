using System.Runtime.InteropServices;
using PostCopy.Linux;

namespace PostCopy.Tracking;

/// <summary>Whether two processes have one address space: between vfork(2) and execve(2), or for good after clone(2) with CLONE_VM.</summary>
internal static class SharedMemory
{
    private const nint KCMP_VM = 1;
    private static readonly nint SYS_kcmp = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 272 : 312;

    /// <summary>False also when one of them has ended. CRIU needs kcmp(2) as well: where it is not, nothing is moved at all.</summary>
    internal static bool Is(int pid, int other)
    {
        nint order = Libc.syscall(SYS_kcmp, pid, other, KCMP_VM, 0);
        return order >= 0 ? order == 0 : LinuxException.LastErrno is var errno and not Errno.ESRCH
            ? throw new LinuxException($"kcmp of the memory of processes {pid} and {other}", errno)
            : false;
    }
}
