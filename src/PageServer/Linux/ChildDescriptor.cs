namespace PostCopy.Linux;

/// <summary>One descriptor a child is to have.</summary>
/// <param name="OurFd">Its number here; it must stay open until the child was started, and stays the caller's to close.</param>
/// <param name="ChildFd">Its number there; 0, 1 and 2 are the standard streams.</param>
internal readonly record struct ChildDescriptor(int OurFd, int ChildFd);
