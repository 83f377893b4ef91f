using System.Globalization;
using PostCopy.Pages;

namespace PostCopy.Tracking;

/// <summary>
/// Whether something may write into a process's memory past the page tables, where write protection cannot see it: a device, or the kernel for an
/// asynchronous request, into pages that were pinned before they were protected.
/// </summary>
internal static class InvisibleWrites
{
    private const ulong O_DIRECT = 0x4000;

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

        foreach (FileInfo file in new DirectoryInfo($"/proc/{pid}/fd").EnumerateFiles())
        {
            string? target = file.LinkTarget;
            if (target == "anon_inode:[io_uring]")
            {
                return "it uses io_uring";
            }

            if (target is ['/', ..] && IsDirect(pid, file.Name))
            {
                return $"it has {target} open with O_DIRECT";
            }
        }

        return null;
    }

    /// <summary>VmPin of proc_pid_status(5).</summary>
    private static ulong PinnedKilobytes(int pid) =>
        File.ReadLines($"/proc/{pid}/status").FirstOrDefault(static line => line.StartsWith("VmPin:", StringComparison.Ordinal)) is { } line
            ? ulong.Parse(line.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture)
            : 0;

    /// <summary>"flags:	0140002", in octal. A descriptor closed meanwhile is none.</summary>
    private static bool IsDirect(int pid, string descriptor)
    {
        try
        {
            return File.ReadLines($"/proc/{pid}/fdinfo/{descriptor}").FirstOrDefault(static line => line.StartsWith("flags:", StringComparison.Ordinal)) is { } line
                && (Convert.ToUInt64(line["flags:".Length..].Trim(), 8) & O_DIRECT) != 0;
        }
        catch (IOException)
        {
            return false;
        }
    }
}
