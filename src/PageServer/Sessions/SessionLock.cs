namespace PostCopy.Sessions;

/// <summary>At most one process works on a session: it holds a lock (flock(2)) that ends with it, however it ends.</summary>
internal static class SessionLock
{
    /// <summary>Takes the lock of a session's directory; null when another process has it.</summary>
    internal static FileStream? TryTake(string directory)
    {
        FileStreamOptions options = new()
        {
            Mode = FileMode.OpenOrCreate,
            Access = FileAccess.ReadWrite,
            Share = FileShare.None,
            BufferSize = 0,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        };
        try
        {
            return new FileStream(Path.Combine(directory, "lock"), options);
        }
        catch (IOException e) when (e is not (FileNotFoundException or DirectoryNotFoundException))
        {
            return null;
        }
    }
}
