using PostCopy.Memory;

namespace PostCopy.CriuWire;

/// <summary>CRIU's <c>struct page_server_iov</c>, in whichever size it travelled.</summary>
/// <param name="Command">One of <see cref="CriuFrameCommand"/>, page flags in the high half.</param>
/// <param name="PageCount">Pages asked for, or pages that follow.</param>
/// <param name="Address">Dump-time address of the first page.</param>
/// <param name="Id">For GET the process's pid in the images, not shifted and typed as in CRIU's other commands.</param>
internal readonly record struct CriuFrame(uint Command, ulong PageCount, ulong Address, ulong Id)
{
    /// <summary>
    /// What a close of ours has where CRIU's has zeroes, which nobody reads: "POSTCOPY". Stock <c>criu lazy-pages</c> says close even when it failed;
    /// a close with this mark comes only when every page was installed, or dropped by the task it was owed to.
    /// </summary>
    private const ulong CompleteMark = 0x59504f4354534f50;

    internal static CriuFrame GetPages(ImagePid pid, PageRange range) => new(CriuFrameCommand.Get, range.PageCount, range.Start, (ulong)pid.Value);

    internal static CriuFrame PagesFollow(ImagePid pid, PageRange range) => new(CriuFrameCommand.PagesFollow, range.PageCount, range.Start, (ulong)pid.Value);

    internal static CriuFrame CloseComplete => new(CriuFrameCommand.Close, 0, CompleteMark, 0);

    internal bool IsClose => Command is CriuFrameCommand.Close or CriuFrameCommand.ForceClose;

    internal bool SaysComplete => IsClose && Address == CompleteMark;
}
