using Mono.Unix.Native;

namespace PostCopy.Linux;

/// <summary>FIFOs (fifo(7)), readable and writable to root alone.</summary>
internal static class Fifo
{
    /// <summary>Makes one. False when something has this name already; every other error of mkfifo(3) is a <see cref="LinuxException"/>.</summary>
    internal static bool TryMake(string path)
    {
        Errno errno = Syscall.mkfifo(path, FilePermissions.S_IRUSR | FilePermissions.S_IWUSR) == 0 ? Errno.None : (Errno)Stdlib.GetLastError();
        return errno is Errno.None or Errno.EEXIST ? errno == Errno.None : throw new LinuxException($"mkfifo {path}", errno);
    }

    /// <summary>Whether that is one.</summary>
    internal static bool Exists(string path) =>
        Syscall.lstat(path, out Stat status) == 0 && (status.st_mode & FilePermissions.S_IFMT) == FilePermissions.S_IFIFO;

    /// <summary>Opens it for reading and writing: that never blocks, whoever is at the other end.</summary>
    internal static FileStream Open(string path) => new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
}
