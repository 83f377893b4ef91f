using Mono.Unix.Native;

namespace PostCopy.Linux;

/// <summary>Signals to processes that are not our children.</summary>
internal static class ProcessSignal
{
    /// <summary>SIGKILL. No error when the process is gone already.</summary>
    internal static void Kill(int pid)
    {
        // 0 and negative numbers would mean groups, or everything.
        ArgumentOutOfRangeException.ThrowIfLessThan(pid, 2);
        if (Syscall.kill(pid, Signum.SIGKILL) != 0 && (Errno)Stdlib.GetLastError() is var errno and not Errno.ESRCH)
        {
            throw new LinuxException($"kill of pid {pid}", errno);
        }
    }
}
