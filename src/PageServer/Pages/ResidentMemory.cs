using System.Globalization;

namespace PostCopy.Pages;

/// <summary>How much memory a running tree holds, in bytes, files' cache left out.</summary>
/// <param name="Here">Now: what processes share counts once.</param>
/// <param name="OnceMoved">
/// On the destination: anonymous pages that processes share after a fork (copy-on-write), or because they are alike (KSM), are each process's own there, since
/// each is filled through its own userfaultfd. Shared memory stays shared.
/// </param>
/// <param name="Swapped">The part of <paramref name="Here"/> that is on swap.</param>
internal readonly record struct ResidentMemory(ulong Here, ulong OnceMoved, ulong Swapped)
{
    internal static ResidentMemory OfTree(int rootPid)
    {
        ResidentMemory sum = default;
        foreach (int pid in TaskTree.Map(rootPid).Values)
        {
            try
            {
                ResidentMemory own = OfProcess(File.ReadLines($"/proc/{pid}/smaps_rollup"));
                sum = new ResidentMemory(sum.Here + own.Here, sum.OnceMoved + own.OnceMoved, sum.Swapped + own.Swapped);
            }
            catch (IOException)
            {
                // The process has ended meanwhile: it holds nothing.
            }
        }

        return sum;
    }

    /// <summary>From the sums over all mappings (proc_pid_smaps(5)). What is shared is divided by the number of its holders in those named Pss.</summary>
    internal static ResidentMemory OfProcess(IEnumerable<string> rollup)
    {
        ulong here = 0, onceMoved = 0, swapped = 0;
        foreach (string line in rollup)
        {
            switch (line.Split(':', 2) is [string name, _] ? name : "")
            {
                case "Pss_Anon":
                    here += Bytes(line);
                    break;
                case "SwapPss":
                    here += Bytes(line);
                    swapped += Bytes(line);
                    break;
                case "Anonymous" or "Swap":
                    onceMoved += Bytes(line);
                    break;
                case "Pss_Shmem":
                    here += Bytes(line);
                    onceMoved += Bytes(line);
                    break;
                default:
                    break;
            }
        }

        return new ResidentMemory(here, onceMoved, swapped);
    }

    /// <summary><c>Swap:      1234 kB</c></summary>
    private static ulong Bytes(string line) => ulong.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
}
