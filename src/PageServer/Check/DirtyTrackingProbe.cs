using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Check;

/// <summary>
/// What pre-copy finds dirty pages with: asynchronous write protection by userfaultfd and the PAGEMAP_SCAN ioctl, both from Linux 6.7 on
/// (Documentation/admin-guide/mm/pagemap.rst). Such a registration never makes anybody wait, so our own page will do.
/// </summary>
internal sealed unsafe class DirtyTrackingProbe : HostProbe
{
    public override string Id => "dirty-tracking";

    public override string Tried => "wrote to a tracked page between scans for dirty pages";

    public override MigrationSides NeededBy => MigrationSides.Source;

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        string problem;
        try
        {
            (int clean, int dirty) = Track();
            if ((clean, dirty) == (0, 1))
            {
                return Task.FromResult(Ok("the write was seen"));
            }

            problem = $"{clean} dirty pages before a write, {dirty} after it";
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            problem = exception.Message;
        }
        return Task.FromResult(Degraded(
            problem,
            "Pre-copy is not available: all memory moves after the freeze, by page fault and in the background.",
            "Run Linux 6.7 or newer if you want pre-copy."));
    }

    private static (int Clean, int Dirty) Track()
    {
        using ScratchPage page = ScratchPage.Create(UffdCalls.UFFD_USER_MODE_ONLY, UffdCalls.WatchesWrites);
        using FileStream pagemap = new("/proc/self/pagemap", FileMode.Open, FileAccess.Read);
        int fd = (int)pagemap.SafeFileHandle.DangerousGetHandle();
        byte* first = (byte*)page.Address;
        *first = 1;
        page.Register(UffdCalls.UFFDIO_REGISTER_MODE_WP);
        ScanDirty(fd, page.Address);
        int clean = ScanDirty(fd, page.Address);
        *first = 2;
        return (clean, ScanDirty(fd, page.Address));
    }

    /// <summary>Number of pages written to since the last scan.</summary>
    private static int ScanDirty(int pagemap, nint address)
    {
        PagemapCalls.page_region region = default;
        PagemapCalls.pm_scan_arg scan = new()
        {
            size = (ulong)sizeof(PagemapCalls.pm_scan_arg),
            flags = PagemapCalls.PM_SCAN_WP_MATCHING | PagemapCalls.PM_SCAN_CHECK_WPASYNC,
            start = (ulong)address,
            end = (ulong)address + (ulong)PageSize.Bytes,
            vec = (ulong)&region,
            vec_len = 1,
            category_mask = PagemapCalls.PAGE_IS_WRITTEN,
            category_anyof_mask = PagemapCalls.PAGE_IS_PRESENT | PagemapCalls.PAGE_IS_SWAPPED,
            return_mask = PagemapCalls.PAGE_IS_WRITTEN,
        };
        return ScratchPage.Call(pagemap, PagemapCalls.PAGEMAP_SCAN, &scan, "PAGEMAP_SCAN");
    }
}
