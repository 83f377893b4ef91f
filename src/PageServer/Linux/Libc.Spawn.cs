using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>Native declarations: starting children, waiting for them, signalling them.</summary>
internal static unsafe partial class Libc
{
    // glibc: sizeof(posix_spawn_file_actions_t) is 80, posix_spawnattr_t 336, sigset_t 128. Reserved more, since they are opaque.
    internal const int SpawnFileActionsBytes = 256;
    internal const int SpawnAttributesBytes = 512;
    internal const int SignalSetBytes = 128;

    // spawn.h
    internal const short POSIX_SPAWN_SETSIGDEF = 0x04;
    internal const short POSIX_SPAWN_SETSIGMASK = 0x08;
    internal const short POSIX_SPAWN_SETSID = 0x80;

    internal const int O_RDWR = 2;
    internal const int O_CLOEXEC = 0x80000;
    internal const int F_DUPFD_CLOEXEC = 1030;

    // Numbers of system calls newer than the oldest glibc this runs on has wrappers for; x86-64 and arm64 agree on them.
    private const nint SYS_pidfd_send_signal = 424;
    private const nint SYS_pidfd_open = 434;

    internal const int P_PID = 1;
    internal const int P_PIDFD = 3;
    internal const int WNOHANG = 1;
    internal const int WEXITED = 4;
    internal const int __WALL = 0x40000000;

    internal const int CLD_EXITED = 1;

    internal const int EPOLL_CTL_ADD = 1;
    internal const int EPOLL_CTL_DEL = 2;
    internal const uint EPOLLIN = 1;
    internal const uint EPOLLET = 1u << 31;

    /// <summary>The part of siginfo_t that waitid(2) fills.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 128)]
    internal struct ChildSignalInfo
    {
        [FieldOffset(8)] internal int si_code;
        [FieldOffset(16)] internal int si_pid;
        [FieldOffset(24)] internal int si_status;
    }

    // The posix_spawn family returns the error number instead of setting errno.

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial Errno posix_spawn(out int pid, string path, byte* fileActions, byte* attributes, byte** argv, byte** envp);

    [LibraryImport("libc")]
    internal static partial Errno posix_spawn_file_actions_init(byte* actions);

    [LibraryImport("libc")]
    internal static partial Errno posix_spawn_file_actions_destroy(byte* actions);

    [LibraryImport("libc")]
    internal static partial Errno posix_spawn_file_actions_adddup2(byte* actions, int fd, int newFd);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial Errno posix_spawn_file_actions_addopen(byte* actions, int fd, string path, int flags, uint mode);

    [LibraryImport("libc")]
    internal static partial Errno posix_spawn_file_actions_addclose(byte* actions, int fd);

    [LibraryImport("libc")]
    internal static partial Errno posix_spawn_file_actions_addclosefrom_np(byte* actions, int fromFd);

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    internal static partial Errno posix_spawn_file_actions_addchdir_np(byte* actions, string path);

    [LibraryImport("libc")]
    internal static partial Errno posix_spawnattr_init(byte* attributes);

    [LibraryImport("libc")]
    internal static partial Errno posix_spawnattr_destroy(byte* attributes);

    [LibraryImport("libc")]
    internal static partial Errno posix_spawnattr_setflags(byte* attributes, short flags);

    [LibraryImport("libc")]
    internal static partial Errno posix_spawnattr_setsigmask(byte* attributes, byte* mask);

    [LibraryImport("libc")]
    internal static partial Errno posix_spawnattr_setsigdefault(byte* attributes, byte* set);

    [LibraryImport("libc")]
    internal static partial int sigemptyset(byte* set);

    [LibraryImport("libc")]
    internal static partial int sigfillset(byte* set);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int fcntl(int fd, int command, nint argument);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int close(int fd);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int waitid(int idType, int id, ChildSignalInfo* info, int options);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int kill(int pid, int signal);

    internal const uint MFD_CLOEXEC = 1;

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int memfd_create(string name, uint flags);

    // epoll_event is packed on x86-64 alone (12 bytes, data at 4); elsewhere 16 bytes, data at 8. So it is passed as bytes.

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int epoll_create1(int flags);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int epoll_ctl(int epollFd, int operation, int fd, byte* epollEvent);

    [LibraryImport("libc", SetLastError = true)]
    internal static partial int epoll_wait(int epollFd, byte* epollEvents, int capacity, int timeoutMs);

    [LibraryImport("libc", EntryPoint = "syscall", SetLastError = true)]
    internal static partial nint syscall(nint number, nint a, nint b, nint c, nint d);

    /// <summary>pidfd_open(2): a descriptor, always close-on-exec, that becomes readable when the process has exited.</summary>
    internal static int pidfd_open(int pid) => (int)syscall(SYS_pidfd_open, pid, 0, 0, 0);

    /// <summary>pidfd_send_signal(2): reaches the process the descriptor was opened for, never another one that got its pid.</summary>
    internal static int pidfd_send_signal(int pidfd, int signal) => (int)syscall(SYS_pidfd_send_signal, pidfd, signal, 0, 0);
}
