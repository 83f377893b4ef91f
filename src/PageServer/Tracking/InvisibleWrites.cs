using System.Globalization;
using PostCopy.Linux;
using PostCopy.Pages;

namespace PostCopy.Tracking;

/// <summary>
/// Whether something may write into a process's memory past the page tables, where write protection cannot see it: a device, or the kernel for an
/// asynchronous request, into pages that were pinned before they were protected.
/// </summary>
internal static class InvisibleWrites
{
    private const ulong O_DIRECT = 0x4000;

    /// <summary>File systems whose files may be read past the page cache, straight into the reader's memory, whatever flags they were opened with.</summary>
    private static readonly string[] DirectFileSystems = ["fuse", "fuseblk", "virtiofs", "9p", "cifs", "smb3"];

    /// <summary>What it is; null when there is nothing of the kind.</summary>
    internal static string? ReasonIn(int pid, IReadOnlyList<ProcessMapping> mappings)
    {
        if (PinnedKilobytes(pid) > 0)
        {
            return "it has pinned memory";
        }

        if (mappings.Any(static mapping => mapping.Name.StartsWith("/[aio]", StringComparison.Ordinal)))
        {
            return "it uses asynchronous input and output";
        }

        HashSet<string>? direct = null;
        foreach (FileInfo file in new DirectoryInfo($"/proc/{pid}/fd").EnumerateFiles())
        {
            string? target = file.LinkTarget;
            if (target == "anon_inode:[io_uring]")
            {
                return "it uses io_uring";
            }

            if (target is not ['/', ..] || InformationOn(pid, file.Name) is not (var flags, var mount))
            {
                continue;
            }

            if ((flags & O_DIRECT) != 0)
            {
                return $"it has {target} open with O_DIRECT";
            }

            direct ??= DirectMounts(pid);
            if (direct.Contains(mount))
            {
                return $"it has {target} open, on a file system that may read past the page cache";
            }
        }

        return null;
    }

    /// <summary>VmPin of proc_pid_status(5).</summary>
    private static ulong PinnedKilobytes(int pid) =>
        File.ReadLines($"/proc/{pid}/status").FirstOrDefault(static line => line.StartsWith("VmPin:", StringComparison.Ordinal)) is { } line
            ? ulong.Parse(line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture)
            : 0;

    /// <summary>"flags:	0140002", in octal, and "mnt_id:	27". A descriptor closed meanwhile is none.</summary>
    private static (ulong Flags, string Mount)? InformationOn(int pid, string descriptor)
    {
        try
        {
            string[] lines = File.ReadAllLines($"/proc/{pid}/fdinfo/{descriptor}");
            return (Convert.ToUInt64(Value(lines, "flags:"), 8), Value(lines, "mnt_id:"));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    private static string Value(string[] lines, string name) =>
        lines.FirstOrDefault(line => line.StartsWith(name, StringComparison.Ordinal)) is { } line
            ? line[name.Length..].Trim()
            : throw new IOException($"a descriptor's information in /proc has no line {name}");

    /// <summary>The numbers of mounts with such file systems: those that the process sees, and ours, since a descriptor may have come from outside its container.</summary>
    private static HashSet<string> DirectMounts(int pid) =>
        [.. MountEntry.SeenBy(pid.ToString(CultureInfo.InvariantCulture)).Concat(MountEntry.All()).Where(static mount => DirectFileSystems.Contains(WithoutSubtype(mount.Type))).Select(static mount => mount.Id)];

    /// <summary><c>fuse.sshfs</c></summary>
    private static string WithoutSubtype(string type) => type.Split('.')[0];
}
