using Microsoft.Win32.SafeHandles;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Tracking;

/// <summary>
/// PAGEMAP_SCAN on one address space, Linux 6.7 (Documentation/admin-guide/mm/pagemap.rst). All looks ask for pages that are present or swapped out: else
/// the kernel would mark pages that were never touched, and CRIU would take them for memory.
/// </summary>
internal sealed unsafe class PagemapScan : IDisposable
{
    // linux/fs.h
    private const ulong PAGE_IS_WPALLOWED = 1;
    private const ulong PAGE_IS_PFNZERO = 0x20;
    private const ulong Populated = PagemapCalls.PAGE_IS_PRESENT | PagemapCalls.PAGE_IS_SWAPPED;

    /// <summary>Regions a call may report: 96 KiB of results.</summary>
    private const int RegionsPerCall = 4096;

    private readonly SafeFileHandle _pagemap;
    private readonly PagemapCalls.page_region[] _regions = GC.AllocateUninitializedArray<PagemapCalls.page_region>(RegionsPerCall, pinned: true);

    /// <summary>Of the address space that the process has now: after an exec it has another.</summary>
    internal PagemapScan(int pid) => _pagemap = File.OpenHandle($"/proc/{pid}/pagemap");

    /// <summary>
    /// The pages of one mapping that were written since the last look, which are write-protected anew in the same step. False when write protection does not
    /// cover all of the mapping: then nothing is known about any of its pages.
    /// </summary>
    internal bool TryTakeWritten(PageRange range, List<PageRange> written) =>
        Run(range, PagemapCalls.PM_SCAN_WP_MATCHING | PagemapCalls.PM_SCAN_CHECK_WPASYNC, PagemapCalls.PAGE_IS_WRITTEN, inverted: 0, written);

    /// <summary>All pages of a mapping whose protection begins now, written or not: a mark of an earlier protection may have come along with them.</summary>
    internal bool TryTakeAll(PageRange range, List<PageRange> pages) =>
        Run(range, PagemapCalls.PM_SCAN_WP_MATCHING | PagemapCalls.PM_SCAN_CHECK_WPASYNC, mask: 0, inverted: 0, pages);

    /// <summary>The pages that are under write protection and were not written since it began. Changes nothing.</summary>
    internal void FindClean(PageRange range, List<PageRange> clean)
    {
        if (!Run(range, flags: 0, PAGE_IS_WPALLOWED | PagemapCalls.PAGE_IS_WRITTEN, inverted: PagemapCalls.PAGE_IS_WRITTEN, clean))
        {
            throw new LinuxException("PAGEMAP_SCAN", Errno.EPERM);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _pagemap.Dispose();

    private bool Run(PageRange range, ulong flags, ulong mask, ulong inverted, List<PageRange> found)
    {
        ulong at = range.Start;
        while (at < range.EndExclusive)
        {
            int count;
            ulong end;
            fixed (PagemapCalls.page_region* regions = _regions)
            {
                PagemapCalls.pm_scan_arg scan = new()
                {
                    size = (ulong)sizeof(PagemapCalls.pm_scan_arg),
                    flags = flags,
                    start = at,
                    end = range.EndExclusive,
                    vec = (ulong)regions,
                    vec_len = RegionsPerCall,
                    category_inverted = inverted,
                    category_mask = mask,
                    category_anyof_mask = Populated,
                    return_mask = PAGE_IS_PFNZERO,
                };
                count = Libc.ioctl((int)_pagemap.DangerousGetHandle(), PagemapCalls.PAGEMAP_SCAN, &scan);
                end = scan.walk_end;
            }

            if (count < 0)
            {
                switch (LinuxException.LastErrno)
                {
                    case Errno.EINTR:
                        continue;
                    case Errno.EPERM:
                        return false;
                    case var errno:
                        throw new LinuxException($"PAGEMAP_SCAN at {at:x}", errno);
                }
            }

            Collect(_regions.AsSpan(0, count), found);
            at = end;
        }

        return true;
    }

    /// <summary>The kernel's page of zeroes, mapped for reading, is nothing that anybody owes.</summary>
    private static void Collect(ReadOnlySpan<PagemapCalls.page_region> regions, List<PageRange> found)
    {
        foreach (PagemapCalls.page_region region in regions)
        {
            if ((region.categories & PAGE_IS_PFNZERO) != 0)
            {
                continue;
            }

            if (found.Count > 0 && found[^1].EndExclusive == region.start)
            {
                found[^1] = PageRange.FromBounds(found[^1].Start, region.end);
            }
            else
            {
                found.Add(PageRange.FromBounds(region.start, region.end));
            }
        }
    }
}
