namespace PostCopy.Images;

/// <summary>What an image directory holds, for people and for tools.</summary>
/// <param name="Directory">The directory, as given.</param>
/// <param name="ImageVersion">CRIU's version of the format.</param>
/// <param name="CriuRunId">CRIU's name for the dump; null from an old CRIU.</param>
/// <param name="NetworkLock">How CRIU locked the network.</param>
/// <param name="HasOwnNetworkNamespace">The tree has a network namespace other than CRIU's.</param>
/// <param name="PageBytes">Bytes in a page.</param>
/// <param name="ParentDirectories">The image directories whose pages these go on from, nearest first; empty when these are complete.</param>
/// <param name="Processes">Parents before their children; the root first.</param>
/// <param name="Memory">Of all processes, and the shared memory among them.</param>
/// <param name="SharedMemory">Each piece of shared memory in the images.</param>
/// <param name="Downtime">What must travel before the destination can start to restore.</param>
public sealed record ImageSummary(
    string Directory,
    int ImageVersion,
    string? CriuRunId,
    ImageNetworkLock NetworkLock,
    bool HasOwnNetworkNamespace,
    int PageBytes,
    IReadOnlyList<string> ParentDirectories,
    IReadOnlyList<ProcessSummary> Processes,
    MemorySummary Memory,
    IReadOnlyList<SharedMemorySummary> SharedMemory,
    DowntimeSummary Downtime);

/// <summary>One process.</summary>
/// <param name="Pid">In its own pid namespace.</param>
/// <param name="ParentPid">Null for the root.</param>
/// <param name="ProcessGroup">Process group.</param>
/// <param name="Session">Session.</param>
/// <param name="Threads">Number of threads.</param>
/// <param name="State">What it was doing.</param>
/// <param name="Command">The kernel's short name for it.</param>
/// <param name="Memory">Its own memory, without what it shares.</param>
public sealed record ProcessSummary(
    int Pid,
    int? ParentPid,
    int ProcessGroup,
    int Session,
    int Threads,
    ImageTaskState State,
    string Command,
    MemorySummary Memory);

/// <summary>Memory by the way it travels.</summary>
/// <param name="Lazy">After the process was started on the destination.</param>
/// <param name="LazyInImages">The part of <paramref name="Lazy"/> that is in the images as well: 0 in a lazy dump, all of it in a plain one.</param>
/// <param name="Eager">In the images, so before the restore.</param>
/// <param name="Parent">In a parent image set, from which restore reads it.</param>
/// <param name="Zero">Private anonymous memory that is mapped and in no image: never touched, or zero. It costs nothing and reads as zeroes.</param>
/// <param name="EagerByReason">The parts of <paramref name="Eager"/>, largest first.</param>
public sealed record MemorySummary(
    PageAmount Lazy,
    PageAmount LazyInImages,
    PageAmount Eager,
    PageAmount Parent,
    PageAmount Zero,
    IReadOnlyList<EagerMemory> EagerByReason);

/// <summary>An amount of memory.</summary>
/// <param name="Pages">In pages.</param>
/// <param name="Bytes">In bytes.</param>
public readonly record struct PageAmount(long Pages, long Bytes);

/// <summary>Eager memory of one kind.</summary>
/// <param name="Reason">Why it is eager.</param>
/// <param name="Amount">How much.</param>
public readonly record struct EagerMemory(EagerReason Reason, PageAmount Amount);

/// <summary>A piece of shared memory.</summary>
/// <param name="Id">CRIU's id for it.</param>
/// <param name="Amount">How much of it is in these images.</param>
public readonly record struct SharedMemorySummary(long Id, PageAmount Amount);

/// <summary>The image files, logs left out.</summary>
/// <param name="ImageBytes">Of all files together, less the memory in them that a lazy dump would leave out.</param>
/// <param name="FileCount">Number of files.</param>
/// <param name="LargestFiles">The ten largest, largest first.</param>
public sealed record DowntimeSummary(long ImageBytes, int FileCount, IReadOnlyList<ImageFileSize> LargestFiles);

/// <summary>One image file.</summary>
/// <param name="Name">Its name inside the directory.</param>
/// <param name="Bytes">Its length.</param>
public readonly record struct ImageFileSize(string Name, long Bytes);
