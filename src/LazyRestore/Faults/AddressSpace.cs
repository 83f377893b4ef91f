using PostCopy.Linux;
using PostCopy.Userfault;

namespace PostCopy.Faults;

/// <summary>One task's memory: the userfaultfd it is filled through and the ledger of what it is still owed.</summary>
internal sealed class AddressSpace(int id, DumpedProcess process, Userfaultfd uffd, OwedPages owed)
{
    /// <summary>Its number in epoll's answers.</summary>
    public int Id => id;

    public DumpedProcess Process => process;

    /// <summary>A child's that was forked after the restore: the process of the dump is another one.</summary>
    public bool IsForked { get; init; }

    public Userfaultfd Uffd => uffd;

    public OwedPages Owed => owed;

    /// <summary>
    /// Keeps freed bytes from coming back. The kernel lets a madvise, munmap or mremap caller go when its event is read; a page decided on before
    /// and copied after that would land in memory that was given up. So installers hold it shared from "still owed?" to the ioctl's answer, and
    /// the fault thread holds it exclusively from the read of events to the updated ledger.
    /// </summary>
    public AddressSpaceLock Lock { get; } = new();

    /// <summary>The task is gone and the descriptor closed. Changes only under <see cref="Lock"/>.</summary>
    public bool IsGone { get; set; }

    /// <summary>A page could not be installed although it is owed; said once for each address space.</summary>
    public bool IsFailing { get; set; }

    /// <summary>When its events could not be read first, a <see cref="System.Diagnostics.Stopwatch"/> timestamp; null as long as they can. Of the fault thread alone.</summary>
    public long? UnreadableSince { get; set; }

    /// <summary>That has lasted, and was said.</summary>
    public bool IsUnreadable { get; set; }

    /// <summary>Some mappings of the dump are not in this forked child; once seen, for the others of its pages nobody waits any more.</summary>
    public bool LacksMappings { get; set; }

    /// <summary>Zero-fill ahead of first touches; of the fault thread alone.</summary>
    public FirstTouchWindow FirstTouch { get; } = new();

    /// <summary>An answer that means there is no such address space any more (ENOSPC: kernels before 4.13).</summary>
    public static bool MeansGone(Errno errno) => errno is Errno.ESRCH or Errno.ENOSPC;
}
