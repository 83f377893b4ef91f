using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>
/// A directory below which somebody may have mounted something: CRIU mounts every cgroup hierarchy in its work directory, runc a container's root in
/// its own, and both unmount that unless they are killed.
/// </summary>
internal static partial class MountedTree
{
    private const int MNT_DETACH = 2;

    /// <summary>Removes the directory with everything in it, once nothing is mounted there: what is seen through a mount is not ours to remove.</summary>
    internal static void Delete(string directory)
    {
        Unmount(directory);
        Directory.Delete(directory, recursive: true);
    }

    /// <summary>Unmounts everything below the directory.</summary>
    internal static void Unmount(string directory)
    {
        // The kernel names mounts without symbolic links: /run/..., also to whom they are below /var/run.
        string below = (RealPath.TryOf(Path.GetFullPath(directory)) ?? throw new IOException($"{directory} has too many symbolic links")) + "/";
        // The latest mount first.
        foreach (string point in MountEntry.All().Select(static mount => mount.Point).Where(point => point.StartsWith(below, StringComparison.Ordinal)).Reverse().ToArray())
        {
            if (umount2(point, MNT_DETACH) != 0)
            {
                throw LinuxException.Last($"umount of {point}");
            }
        }
    }

    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int umount2(string target, int flags);
}
