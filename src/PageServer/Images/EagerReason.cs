namespace PostCopy.Images;

/// <summary>Why memory travels inside the images, while the processes stand still, and not lazily afterwards.</summary>
public enum EagerReason
{
    /// <summary>Pages of a private file mapping that the process wrote to.</summary>
    FilePrivate,

    /// <summary>Shared memory: anonymous, memfd or System V.</summary>
    Shared,

    /// <summary>Huge pages of hugetlbfs.</summary>
    HugeTlb,

    /// <summary>Locked by mlock(2) or mlockall(2).</summary>
    Locked,

    /// <summary>The kernel's vDSO.</summary>
    Vdso,

    /// <summary>A ring of the kernel's asynchronous I/O (io_setup(2)).</summary>
    AioRing,

    /// <summary>
    /// Private anonymous memory that could have been lazy, but CRIU kept it back because of a thread's stack pointer. CRIU means to do so for
    /// the page a stack pointer is in; by a defect it compares offsets inside pages instead (<c>is_stack</c> in <c>criu/mem.c</c>), so
    /// usually there is none, and a stack pointer at the very start of a page keeps back the whole process.
    /// </summary>
    StackPointer,

    /// <summary>None of the other reasons.</summary>
    Other,
}
