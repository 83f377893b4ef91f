using PostCopy.Memory;

namespace PostCopy.Images;

/// <summary>A pagemap entry in one form, whatever CRIU version wrote it.</summary>
internal readonly record struct PagemapRun(PageRange Range, PagemapFlags Flags)
{
    /// <summary>A lazy restore leaves these pages out: somebody owes them to the process.</summary>
    public bool IsOwed => (Flags & PagemapFlags.Lazy) != 0;
}
