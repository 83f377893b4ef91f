using PostCopy.Linux;

namespace PostCopy.Sessions;

/// <summary>A file that one process at a time holds (flock(2)); it ends with the process, however that ends.</summary>
internal static class FileLock
{
    /// <summary>Takes the lock; null when another has it. Throws <see cref="IOException"/> for whatever else is in the way: no room, no descriptor.</summary>
    internal static FileStream? TryTake(string path, FileOptions options = FileOptions.None)
    {
        FileStreamOptions only = new()
        {
            Mode = FileMode.OpenOrCreate,
            Access = FileAccess.ReadWrite,
            Share = FileShare.None,
            Options = options,
            BufferSize = 0,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        };
        try
        {
            return new FileStream(path, only);
        }
        catch (IOException e) when (e.HResult == (int)Errno.EAGAIN)
        {
            return null;
        }
    }
}
