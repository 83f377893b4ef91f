using System.Globalization;

namespace PostCopy.Pages;

/// <summary>
/// The largest private mapping of a tree that CRIU will map writable at first, before it protects it as it was, and of which the kernel must believe then that it can
/// fill it (overcommit, proc_sys_vm(5)). Heaps that reserve far more than they use have such: .NET's has 256 GiB, without access.
/// </summary>
internal static class LargestMapping
{
    internal static ulong OfTree(int rootPid)
    {
        ulong largest = 0;
        foreach (int pid in TaskTree.Map(rootPid).Values)
        {
            try
            {
                largest = Math.Max(largest, OfProcess(File.ReadLines($"/proc/{pid}/smaps")));
            }
            catch (IOException) when (TaskTree.HasEnded(pid))
            {
                // It has ended.
            }
        }

        return largest;
    }

    /// <summary>Of one process, from proc_pid_smaps(5); shared ones, and those made with MAP_NORESERVE (<c>nr</c>), are never counted by the kernel.</summary>
    internal static ulong OfProcess(IEnumerable<string> smaps)
    {
        ulong largest = 0, bytes = 0;
        foreach (string line in smaps)
        {
            if (line.StartsWith("Size:", StringComparison.Ordinal))
            {
                bytes = ulong.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
            }
            else if (line.StartsWith("VmFlags:", StringComparison.Ordinal) && bytes > largest && !line.Split(' ').Any(static flag => flag is "sh" or "nr"))
            {
                largest = bytes;
            }
        }

        return largest;
    }
}
