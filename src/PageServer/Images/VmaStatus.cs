namespace PostCopy.Images;

/// <summary>The VMA_AREA_ bits that decide how a VMA's memory travels (CRIU, <c>criu/include/image.h</c>).</summary>
[Flags]
internal enum VmaStatus : uint
{
    None = 0,
    Vsyscall = 0x4,
    Vdso = 0x8,
    FilePrivate = 0x40,
    FileShared = 0x80,
    AnonymousShared = 0x100,
    SysVIpc = 0x400,
    Vvar = 0x1000,
    AioRing = 0x2000,
    Guard = 0x10000,
}
