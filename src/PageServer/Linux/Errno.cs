namespace PostCopy.Linux;

/// <summary>The errno values this program acts on (errno(3), x86-64 and arm64 agree on these).</summary>
internal enum Errno
{
    /// <summary>No error.</summary>
    None = 0,

    /// <summary>Operation not permitted.</summary>
    EPERM = 1,

    /// <summary>No such file, or no mapping registered at that address (userfaultfd).</summary>
    ENOENT = 2,

    /// <summary>No such process; for userfaultfd: the address space is gone.</summary>
    ESRCH = 3,

    /// <summary>Interrupted by a signal; retried everywhere.</summary>
    EINTR = 4,

    /// <summary>Input/output error.</summary>
    EIO = 5,

    /// <summary>Bad file descriptor.</summary>
    EBADF = 9,

    /// <summary>No child process.</summary>
    ECHILD = 10,

    /// <summary>Would block; for userfaultfd: an address-space change is in flight and its event must be read first.</summary>
    EAGAIN = 11,

    /// <summary>Out of memory, or the memory cgroup is at its limit.</summary>
    ENOMEM = 12,

    /// <summary>Permission denied.</summary>
    EACCES = 13,

    /// <summary>Bad address.</summary>
    EFAULT = 14,

    /// <summary>Device or resource busy.</summary>
    EBUSY = 16,

    /// <summary>Exists already; for userfaultfd: the page is present.</summary>
    EEXIST = 17,

    /// <summary>Invalid argument.</summary>
    EINVAL = 22,

    /// <summary>Too many open files.</summary>
    EMFILE = 24,

    /// <summary>No such ioctl for this file.</summary>
    ENOTTY = 25,

    /// <summary>No space left; old kernels answer it where newer ones answer ESRCH (userfaultfd).</summary>
    ENOSPC = 28,

    /// <summary>Broken pipe.</summary>
    EPIPE = 32,

    /// <summary>Name too long.</summary>
    ENAMETOOLONG = 36,

    /// <summary>System call not implemented.</summary>
    ENOSYS = 38,

    /// <summary>Operation not supported.</summary>
    EOPNOTSUPP = 95,

    /// <summary>Connection reset by peer.</summary>
    ECONNRESET = 104,

    /// <summary>Connection timed out.</summary>
    ETIMEDOUT = 110,

    /// <summary>Connection refused.</summary>
    ECONNREFUSED = 111,
}
