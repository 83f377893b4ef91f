using System.Globalization;
using PostCopy.Linux;

namespace PostCopy.Sessions;

/// <summary>At most one migration works on a container or process tree at a time; its first process stands for it, whatever it is called.</summary>
internal static class SubjectLock
{
    /// <summary>Takes the lock until it is disposed or this process ends; null when another process has it.</summary>
    internal static FileStream? TryTake(string stateDirectory, ProcessIdentity init)
    {
        Directory.CreateDirectory(stateDirectory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        FileStreamOptions options = new()
        {
            Mode = FileMode.OpenOrCreate,
            Access = FileAccess.ReadWrite,
            // flock(2); the file is unlinked while the lock is still held.
            Share = FileShare.None,
            Options = FileOptions.DeleteOnClose,
            BufferSize = 0,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        };
        try
        {
            return new FileStream(Path.Combine(stateDirectory, string.Create(CultureInfo.InvariantCulture, $"moving.{init.Pid}.{init.StartTicks}")), options);
        }
        catch (IOException e) when (e is not (FileNotFoundException or DirectoryNotFoundException))
        {
            return null;
        }
    }
}
