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
        // The file is unlinked while the lock is still held.
        return FileLock.TryTake(Path.Combine(stateDirectory, string.Create(CultureInfo.InvariantCulture, $"moving.{init.Pid}.{init.StartTicks}")), FileOptions.DeleteOnClose);
    }
}
