using System.Runtime.InteropServices;
using PostCopy.Faults;
using PostCopy.Memory;

namespace PostCopy.Tests.Faults;

/// <summary>Every owed page of a <see cref="FaultingTask"/>, staged. Its memory is there for as long as anybody may still lend from it, so nobody frees it.</summary>
internal sealed unsafe class PatternStaged : IStagedPages
{
    private readonly ulong _start;
    private readonly ulong _owedEnd;
    private readonly byte[] _memory;
    private readonly byte* _bytes;

    public PatternStaged(ulong start, ulong owedEnd)
    {
        _start = start;
        _owedEnd = owedEnd;
        _memory = GC.AllocateUninitializedArray<byte>((int)PageSize.ToBytes(owedEnd), pinned: true);
        _bytes = (byte*)Marshal.UnsafeAddrOfPinnedArrayElement(_memory, 0);
        Pattern.Fill(start, new PageRange(start, owedEnd), _memory);
    }

    /// <summary>As many as are alike: owed, and all of them zero or none.</summary>
    public bool TryBorrow(ImagePid pid, ulong dumpTime, int maxPages, out BorrowedPages pages)
    {
        ulong first = (dumpTime - _start) >> PageSize.Shift;
        int count = 0;
        while (count < maxPages && Pattern.IsOwed(first + (ulong)count, _owedEnd) && Pattern.IsZero(first + (ulong)count) == Pattern.IsZero(first))
        {
            count++;
        }

        pages = new BorrowedPages(this, Pattern.IsZero(first) ? null : _bytes + PageSize.ToBytes(first), count);
        return count > 0;
    }

    public void Return(in BorrowedPages pages)
    {
    }

    /// <summary>Puts them in place from the last to the first, a few at a time: the task begins at the other end.</summary>
    public void InstallAll(LazyMemory memory, ImagePid pid, TimeSpan rest)
    {
        for (ulong page = _owedEnd; page-- > 0;)
        {
            if (TryBorrow(pid, _start + PageSize.ToBytes(page), 1, out BorrowedPages pages))
            {
                memory.InstallStaged(pid, new PageRange(_start + PageSize.ToBytes(page), 1), pages.Bytes);
            }

            if (page % 16 == 0)
            {
                Thread.Sleep(rest);
            }
        }
    }
}
