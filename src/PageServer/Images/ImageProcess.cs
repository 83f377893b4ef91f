using PostCopy.Memory;

namespace PostCopy.Images;

/// <summary>One process of the dumped tree.</summary>
internal sealed class ImageProcess
{
    public required ImagePid Pid { get; init; }

    /// <summary>Null for the root of the tree.</summary>
    public required ImagePid? ParentPid { get; init; }

    /// <summary>0 when the group is not visible in the process's pid namespace.</summary>
    public required int ProcessGroup { get; init; }

    /// <summary>0 when the session is not visible in the process's pid namespace.</summary>
    public required int Session { get; init; }

    /// <summary>At least one; the main thread counts.</summary>
    public required int ThreadCount { get; init; }

    public required ImageTaskState State { get; init; }

    /// <summary>The kernel's short name (comm), with control characters replaced.</summary>
    public required string Command { get; init; }

    /// <summary>In ascending order, without overlap, without guard regions; empty for a zombie.</summary>
    public required IReadOnlyList<ImageVma> Vmas { get; init; }

    /// <summary>In ascending order and without overlap; empty for a zombie.</summary>
    public required IReadOnlyList<PagemapRun> Pagemap { get; init; }

    /// <summary>The N of this process's <c>pages-N.img</c>; null for a zombie.</summary>
    public required uint? PagesId { get; init; }

    public bool IsLive => State != ImageTaskState.Zombie;
}
