using System.Runtime.InteropServices;

namespace PostCopy.Userfault;

/// <summary>What a message read from a userfaultfd reports (<c>UFFD_EVENT_*</c>).</summary>
internal enum UffdEventKind : byte
{
    PageFault = 0x12,
    Fork = 0x13,
    Remap = 0x14,
    Remove = 0x15,
    Unmap = 0x16,
}

/// <summary><c>struct uffd_msg</c>: 32 bytes, a union behind the first eight.</summary>
[StructLayout(LayoutKind.Explicit, Size = 32)]
internal struct UffdEvent
{
    [FieldOffset(0)]
    public UffdEventKind Kind;

    /// <summary>PageFault: an address in the missing page. The kernel masks it unless EXACT_ADDRESS was negotiated.</summary>
    [FieldOffset(16)]
    public ulong FaultAddress;

    /// <summary>Fork: the child's userfaultfd, already a descriptor of the process that read the message.</summary>
    [FieldOffset(8)]
    public int ForkedDescriptor;

    /// <summary>Remap: old address.</summary>
    [FieldOffset(8)]
    public ulong RemapFrom;

    /// <summary>Remap: new address.</summary>
    [FieldOffset(16)]
    public ulong RemapTo;

    /// <summary>Remap: length in bytes.</summary>
    [FieldOffset(24)]
    public ulong RemapBytes;

    /// <summary>Remove and Unmap: first byte.</summary>
    [FieldOffset(8)]
    public ulong Start;

    /// <summary>Remove and Unmap: first byte behind the range.</summary>
    [FieldOffset(16)]
    public ulong EndExclusive;
}
