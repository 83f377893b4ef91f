namespace PostCopy.Images;

/// <summary>The MAP_ bits that decide how a VMA's memory travels (mmap(2); the same on x86-64 and arm64).</summary>
[Flags]
internal enum MapFlags : uint
{
    None = 0,
    Shared = 0x1,
    Private = 0x2,
    Anonymous = 0x20,
    Locked = 0x2000,
    HugeTlb = 0x40000,
}
