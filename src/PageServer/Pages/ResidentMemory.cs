using System.Globalization;
using PostCopy.Memory;

namespace PostCopy.Pages;

/// <summary>How much memory a running tree holds, roughly: shared pages count once a process, as a lazy restore makes them private.</summary>
internal static class ResidentMemory
{
    internal static ulong OfTree(int rootPid)
    {
        ulong pages = 0;
        foreach (int pid in TaskTree.Map(rootPid).Values)
        {
            try
            {
                // proc_pid_statm(5): size resident shared ...
                pages += ulong.Parse(File.ReadAllText($"/proc/{pid}/statm").Split(' ')[1], CultureInfo.InvariantCulture);
            }
            catch (IOException)
            {
                // The process has ended meanwhile: it holds nothing.
            }
        }

        return PageSize.ToBytes(pages);
    }
}
