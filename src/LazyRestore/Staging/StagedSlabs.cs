using Mono.Unix.Native;
using PostCopy.Linux;
using PostCopy.Memory;

namespace PostCopy.Staging;

/// <summary>The memory behind staged pages: slots of a page each, numbered from 1, in slabs of 2 MiB within the agent's limit.</summary>
/// <remarks>
/// A slab is one huge page where the kernel has one: a single fault, and a single page table entry, instead of 512. It is given back as a whole, when nothing
/// in it is needed any more: whenever memory is given back, every CPU that runs a thread of this process has to flush its TLB. Addresses are had for many slabs at
/// a time and kept until the end: the kernel bounds the mappings of a process (vm.max_map_count), and holes make many of one.
/// </remarks>
internal sealed unsafe class StagedSlabs(StagingBudget budget) : IDisposable
{
    private const int MADV_DONTNEED = 4;
    private const int SlotsPerSlab = 512;
    private static readonly nint SlabBytes = SlotsPerSlab * PageSize.Bytes;

    private const int SlabsPerBlock = 64;
    private static readonly nint BlockBytes = SlabsPerBlock * SlabBytes;

    private readonly List<nint> _blocks = [];
    private readonly List<Slab> _slabs = [];
    private readonly Stack<int> _free = new();
    private int _takenSlots;

    /// <summary>The page in a slot. Never null, which elsewhere means a page of zeroes: a slot that was given back throws.</summary>
    internal byte* this[int slot] => _slabs[(slot - 1) / SlotsPerSlab].Start is var start and not 0
        ? (byte*)start + (long)PageSize.ToBytes((ulong)((slot - 1) % SlotsPerSlab))
        : throw new InvalidOperationException($"slot {slot} of the staged pages was given back");

    /// <summary>Whether a slot lies in memory right behind <paramref name="count"/> slots from <paramref name="first"/> on.</summary>
    internal static bool Follows(int first, int count, int slot) => slot == first + count && (slot - 1) / SlotsPerSlab == (first - 1) / SlotsPerSlab;

    /// <summary>A slot for a page; <see cref="StagedRegion.None"/> when there is no room.</summary>
    internal int Take()
    {
        if (!_free.TryPop(out int slot))
        {
            if (_takenSlots == _slabs.Count * SlotsPerSlab && !TryAddSlab())
            {
                return StagedRegion.None;
            }

            slot = ++_takenSlots;
        }

        _slabs[(slot - 1) / SlotsPerSlab].UsedSlots++;
        return slot;
    }

    /// <summary>The slot is for another page.</summary>
    internal void Return(int slot)
    {
        _slabs[(slot - 1) / SlotsPerSlab].UsedSlots--;
        _free.Push(slot);
    }

    /// <summary>No more pages come: slots are given back from here on.</summary>
    internal void Seal()
    {
        _free.Clear();
        _slabs.ForEach(GiveBackUnused);
    }

    /// <summary>What is in these slots, which follow each other, is not needed any more. Only when sealed.</summary>
    internal void Release(int first, int count)
    {
        Slab slab = _slabs[(first - 1) / SlotsPerSlab];
        slab.UsedSlots -= count;
        GiveBackUnused(slab);
    }

    /// <summary>Gives everything back.</summary>
    public void Dispose()
    {
        budget.Release(_slabs.Count(static slab => slab.Start != 0) * SlabBytes);
        _slabs.Clear();
        _blocks.ForEach(static block => Unmap(block, BlockBytes));
        _blocks.Clear();
    }

    private bool TryAddSlab()
    {
        if (!budget.TryReserve(SlabBytes))
        {
            return false;
        }

        if (_slabs.Count == _blocks.Count * SlabsPerBlock && !TryAddBlock())
        {
            budget.Release(SlabBytes);
            return false;
        }

        _slabs.Add(new Slab(_blocks[^1] + (_slabs.Count % SlabsPerBlock * SlabBytes)));
        return true;
    }

    /// <summary>Addresses alone: what is behind them comes when it is written to, and is accounted for slab by slab.</summary>
    private bool TryAddBlock()
    {
        // One slab more has a piece that is aligned.
        nint bytes = BlockBytes + SlabBytes;
        nint mapping = Syscall.mmap(0, (ulong)bytes, MmapProts.PROT_READ | MmapProts.PROT_WRITE, MmapFlags.MAP_PRIVATE | MmapFlags.MAP_ANONYMOUS | MmapFlags.MAP_NORESERVE, -1, 0);
        if (mapping == -1)
        {
            return false;
        }

        nint start = (mapping + SlabBytes - 1) & ~(SlabBytes - 1);
        Unmap(mapping, start - mapping);
        Unmap(start + BlockBytes, mapping + bytes - (start + BlockBytes));
        // Without huge pages it is slower.
        _ = Libc.madvise(start, (nuint)BlockBytes, Libc.MADV_HUGEPAGE);
        _blocks.Add(start);
        return true;
    }

    private void GiveBackUnused(Slab slab)
    {
        if (slab.UsedSlots == 0)
        {
            GiveBack(slab);
        }
    }

    private void GiveBack(Slab slab)
    {
        if (slab.Start != 0)
        {
            if (Libc.madvise(slab.Start, (nuint)SlabBytes, MADV_DONTNEED) != 0)
            {
                throw LinuxException.Last("madvise MADV_DONTNEED of staged pages");
            }

            slab.Start = 0;
            budget.Release(SlabBytes);
        }
    }

    private static void Unmap(nint start, nint bytes)
    {
        if (bytes > 0)
        {
            _ = Syscall.munmap(start, (ulong)bytes);
        }
    }

    private sealed class Slab(nint start)
    {
        /// <summary>0 when it has been given back.</summary>
        internal nint Start { get; set; } = start;

        internal int UsedSlots { get; set; }
    }
}
