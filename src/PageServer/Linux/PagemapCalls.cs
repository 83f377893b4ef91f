using System.Runtime.InteropServices;

namespace PostCopy.Linux;

/// <summary>The PAGEMAP_SCAN ioctl of <c>/proc/PID/pagemap</c> (linux/fs.h; Documentation/admin-guide/mm/pagemap.rst).</summary>
internal static class PagemapCalls
{
    internal const ulong PM_SCAN_WP_MATCHING = 1;
    internal const ulong PM_SCAN_CHECK_WPASYNC = 2;
    internal const ulong PAGE_IS_WRITTEN = 2;
    internal const ulong PAGE_IS_PRESENT = 8;
    internal const ulong PAGE_IS_SWAPPED = 0x10;

    internal const nuint PAGEMAP_SCAN = 0xc0606610;

    [StructLayout(LayoutKind.Sequential)]
    internal struct pm_scan_arg
    {
        internal ulong size, flags, start, end, walk_end, vec, vec_len, max_pages;
        internal ulong category_inverted, category_mask, category_anyof_mask, return_mask;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct page_region
    {
        internal ulong start, end, categories;
    }
}
