using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using PostCopy.Linux;
using PostCopy.Pages;

namespace PostCopy.Restore;

/// <summary>
/// Joins processes' memory into transparent huge pages again: it arrived in small ones, and khugepaged would take its time. Only where a huge page's worth of small
/// ones is there and none is the kernel's page of zeroes, so that it costs no memory. Linux 6.7 (PAGEMAP_SCAN, and MADV_COLLAPSE for other processes).
/// </summary>
internal static unsafe partial class HugePages
{
    private const nint SYS_process_madvise = 440;
    private const int MADV_COLLAPSE = 25;
    private const ulong PAGE_IS_PFNZERO = 0x20;

    /// <summary>Regions of a mapping that one look reports.</summary>
    private const int RegionsPerScan = 256;

    private const string SizeFile = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";

    /// <summary>What a huge page has; null where there are none.</summary>
    internal static ulong? Bytes => File.Exists(SizeFile) ? ulong.Parse(File.ReadAllText(SizeFile), CultureInfo.InvariantCulture) : null;

    /// <summary>Returns the bytes that are in huge pages now, of those that could be.</summary>
    internal static (ulong Joined, ulong Possible) Collapse(IEnumerable<int> pids)
    {
        ulong joined = 0, possible = 0;
        if (Bytes is { } size)
        {
            foreach (int pid in pids)
            {
                Collapse(pid, size, ref joined, ref possible);
            }
        }

        return (joined, possible);
    }

    /// <summary>A process whose memory is to be joined; an invalid handle, with which nothing is, when it has ended.</summary>
    internal static SafeFileHandle Open(int pid) => new(Libc.pidfd_open(pid), ownsHandle: true);

    /// <summary>
    /// Returns the bytes of the range that are in huge pages now. Fewer than there are: the mapping may have none (madvise, prctl) or be another one now, a page may be missing or
    /// pinned, the process gone, or there is no memory in one piece.
    /// </summary>
    internal static ulong Join(SafeFileHandle process, ulong start, ulong byteCount)
    {
        Libc.iovec range = new() { iov_base = (nuint)start, iov_len = (nuint)byteCount };
        return (ulong)Math.Max(0, syscall(SYS_process_madvise, process, &range, 1, MADV_COLLAPSE, 0));
    }

    private static void Collapse(int pid, ulong size, ref ulong joined, ref ulong possible)
    {
        try
        {
            using SafeFileHandle process = Open(pid);
            using SafeFileHandle pagemap = File.OpenHandle($"/proc/{pid}/pagemap");
            foreach (ProcessMapping mapping in ProcessMap.Of(pid).Where(static mapping => mapping is { IsPrivateAnonymous: true, IsReadable: true, IsWritable: true }))
            {
                foreach ((ulong from, ulong to) in Filled(pagemap, mapping.Range.Start, mapping.Range.EndExclusive))
                {
                    ulong first = (from + size - 1) / size * size;
                    if (first + size > to)
                    {
                        continue;
                    }

                    ulong bytes = (to - first) / size * size;
                    possible += bytes;
                    joined += Join(process, first, bytes);
                }
            }
        }
        catch (IOException) when (TaskTree.HasEnded(pid))
        {
            // It has ended.
        }
    }

    /// <summary>Where pages are present that are not the page of zeroes.</summary>
    private static List<(ulong Start, ulong End)> Filled(SafeFileHandle pagemap, ulong start, ulong end)
    {
        List<(ulong, ulong)> filled = [];
        PagemapCalls.page_region* regions = stackalloc PagemapCalls.page_region[RegionsPerScan];
        while (start < end)
        {
            PagemapCalls.pm_scan_arg scan = new()
            {
                size = (ulong)sizeof(PagemapCalls.pm_scan_arg),
                start = start,
                end = end,
                vec = (ulong)regions,
                vec_len = RegionsPerScan,
                category_inverted = PAGE_IS_PFNZERO,
                category_mask = PagemapCalls.PAGE_IS_PRESENT | PAGE_IS_PFNZERO,
                return_mask = PagemapCalls.PAGE_IS_PRESENT,
            };
            int count = Libc.ioctl((int)pagemap.DangerousGetHandle(), PagemapCalls.PAGEMAP_SCAN, &scan);
            if (count < 0)
            {
                // An older kernel, or the process has no memory any more.
                return filled;
            }

            for (int i = 0; i < count; i++)
            {
                filled.Add((regions[i].start, regions[i].end));
            }

            start = scan.walk_end;
        }

        return filled;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint syscall(nint number, SafeFileHandle pidfd, Libc.iovec* ranges, nuint count, int advice, uint flags);
}
