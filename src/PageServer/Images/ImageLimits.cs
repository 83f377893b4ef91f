namespace PostCopy.Images;

/// <summary>
/// Bounds on what is read from image files. They arrive over the network, so none of their numbers is trusted: each limit is far above what a
/// kernel lets a container have and low enough to keep this program's memory in proportion to the size of the files.
/// </summary>
internal sealed record ImageLimits
{
    public static readonly ImageLimits Default = new();

    /// <summary>The kernel's PID_MAX_LIMIT on 64-bit hosts.</summary>
    public int MaxPid { get; init; } = 4 * 1024 * 1024;

    public int MaxProcesses { get; init; } = 65_536;

    public int MaxThreadsPerProcess { get; init; } = 131_072;

    /// <summary>Hosts raise vm.max_map_count from 65,530 to 1,048,576 for some databases; twice that leaves room for guard regions.</summary>
    public int MaxVmasPerProcess { get; init; } = 2 * 1024 * 1024;

    /// <summary>One entry is at most 1024 pages and usually nearly so; this many single pages are 64 GiB of the most fragmented memory there can be.</summary>
    public int MaxEntriesPerPagemap { get; init; } = 16 * 1024 * 1024;

    /// <summary>Of the widest user address space there is, five levels of page tables.</summary>
    public ulong MaxAddress { get; init; } = 1UL << 57;

    /// <summary>All of a 47-bit user address space in 4 KiB pages.</summary>
    public ulong MaxPagesPerPagemap { get; init; } = 1UL << 35;

    /// <summary>Of all processes together, and again of all shared memory: 4 PiB in 4 KiB pages, so that sums in bytes fit 64 bits for every page size.</summary>
    public ulong MaxPagesInAll { get; init; } = 1UL << 40;

    /// <summary>Lengths of all files in the directory together; sparse files may claim more.</summary>
    public long MaxFileBytesInAll { get; init; } = 1L << 56;

    public int MaxSharedMemoryImages { get; init; } = 65_536;

    public int MaxInventoryEntryBytes { get; init; } = 64 * 1024;

    public int MaxIdsEntryBytes { get; init; } = 4 * 1024;

    /// <summary>Holds <see cref="MaxThreadsPerProcess"/> ids of at most six bytes each.</summary>
    public int MaxPstreeEntryBytes { get; init; } = 1024 * 1024;

    /// <summary>Registers, and every signal queued to the task (128 bytes each, bounded by RLIMIT_SIGPENDING).</summary>
    public int MaxCoreEntryBytes { get; init; } = 64 * 1024 * 1024;

    /// <summary>Holds <see cref="MaxVmasPerProcess"/> VMAs of about 60 bytes each.</summary>
    public int MaxMmEntryBytes { get; init; } = 128 * 1024 * 1024;

    public int MaxPagemapEntryBytes { get; init; } = 4 * 1024;

    /// <summary>The kernel's TASK_COMM_LEN is 16.</summary>
    public int MaxCommandBytes { get; init; } = 64;

    /// <summary>A UUID in text has 36.</summary>
    public int MaxRunIdChars { get; init; } = 64;
}
