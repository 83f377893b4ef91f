using System.Buffers.Binary;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Pages;

namespace PostCopy.Tracking;

/// <summary>Finds memory of a process that nobody can be using: the unused end of its first thread's stack.</summary>
internal static class ScratchMemory
{
    /// <summary>Left free below the scratch memory, for the handler of a signal that comes meanwhile.</summary>
    private const ulong HandlerBytes = 16 << 10;

    /// <summary>Says of a place on a stack that is not in use at the moment that it is ours from an earlier time.</summary>
    private static ReadOnlySpan<byte> Mark => "PostCopy scratch"u8;

    /// <summary>The end of at least <paramref name="bytes"/> unused bytes; null when there are none for certain.</summary>
    internal static ulong? Find(int pid, ulong stackPointer, ProcessMapping stack, int bytes)
    {
        if (stack.Range.Contains(stackPointer))
        {
            // What is below the red zone belongs to nobody (System V ABI): there the kernel, too, puts signal frames.
            ulong unused = stackPointer - Gadgets.RedZoneBytes;
            return unused - stack.Range.Start > HandlerBytes + (ulong)bytes ? unused : null;
        }

        if (stack.Range.ByteCount < HandlerBytes + (ulong)bytes + HandlerBytes)
        {
            return null;
        }

        // The thread runs on a stack of its own making: what the first one has never touched is unused, whatever the program does. The mark is at the upper end:
        // there the first stack, should it grow so far, comes first.
        ulong end = PageSize.AlignDown(stack.Range.Start + HandlerBytes + (ulong)bytes + (2 * (ulong)PageSize.Bytes));
        ulong mark = end - (ulong)Mark.Length;
        if (!IsUntouched(pid, PageRange.FromBounds(stack.Range.Start, end)) && !IsMarked(pid, mark))
        {
            return null;
        }

        return Ptrace.TryWrite(pid, mark, Mark) ? mark : null;
    }

    private static bool IsMarked(int pid, ulong address)
    {
        Span<byte> there = stackalloc byte[Mark.Length];
        return RemoteMemory.Read(pid, address, there) == there.Length && there.SequenceEqual(Mark);
    }

    /// <summary>Neither present (bit 63) nor swapped out (bit 62): Documentation/admin-guide/mm/pagemap.rst.</summary>
    private static bool IsUntouched(int pid, PageRange range)
    {
        using FileStream pagemap = new($"/proc/{pid}/pagemap", FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        byte[] entries = new byte[range.PageCount * sizeof(ulong)];
        pagemap.Position = (long)(range.Start >> PageSize.Shift) * sizeof(ulong);
        pagemap.ReadExactly(entries);
        for (int at = 0; at < entries.Length; at += sizeof(ulong))
        {
            if (BinaryPrimitives.ReadUInt64LittleEndian(entries.AsSpan(at)) >> 62 != 0)
            {
                return false;
            }
        }

        return true;
    }
}
