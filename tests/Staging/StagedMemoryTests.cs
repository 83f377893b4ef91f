using PostCopy.Faults;
using PostCopy.Memory;
using PostCopy.Staging;

namespace PostCopy.Tests.Staging;

public sealed unsafe class StagedMemoryTests
{
    private const ulong Base = 0x5500_0000_0000;
    private static readonly ImagePid Pid = new(3);

    [Fact]
    public void Valid_pages_come_back_as_they_were_put_last_and_no_others()
    {
        StagingBudget budget = new(64 << 20);
        StagedMemory staged = new(budget);
        for (int page = 0; page < 1000; page++)
        {
            Assert.True(staged.TryPut(Pid, Address(page), page % 7 == 3 ? [] : Content(page, 1)));
        }

        for (int page = 0; page < 1000; page += 5)
        {
            Assert.True(staged.TryPut(Pid, Address(page), page % 10 == 0 ? [] : Content(page, 2)));
        }

        staged.MarkValid(Pid, new PageRange(Address(100), 700));
        staged.MarkValid(Pid, new PageRange(Address(5000), 10));
        staged.MarkValid(new ImagePid(9), new PageRange(Address(0), 10));
        staged.Complete();
        int pages = 0;
        foreach ((ImagePid pid, StagedRegion region) in staged.Regions())
        {
            Assert.Equal(Pid, pid);
            for (int at = 0; at < StagedRegion.Pages;)
            {
                int count = staged.RunOf(region, at, 32, out byte* bytes);
                for (int i = 0; i < count; i++)
                {
                    int page = (int)((region.AddressOf(at + i) - Base) >> PageSize.Shift);
                    ReadOnlySpan<byte> actual = bytes is null ? new byte[PageSize.Bytes] : new ReadOnlySpan<byte>(bytes + (i * PageSize.Bytes), PageSize.Bytes);
                    Assert.InRange(page, 100, 799);
                    Assert.True(actual.SequenceEqual(Expected(page)), $"page {page}");
                    pages++;
                }

                at += Math.Max(count, 1);
            }
        }

        Assert.Equal(700, pages);
        Assert.False(staged.TryBorrow(Pid, Address(99), 16, out _));
        Assert.True(staged.TryBorrow(Pid, Address(102), 16, out BorrowedPages borrowed));
        Assert.True(new ReadOnlySpan<byte>(borrowed.Bytes, PageSize.Bytes).SequenceEqual(Expected(102)));
        staged.Return(borrowed);
        foreach ((ImagePid _, StagedRegion region) in staged.Regions().ToList())
        {
            staged.Free(region);
        }

        Assert.False(staged.TryBorrow(Pid, Address(102), 16, out _));
        Assert.InRange(budget.Used, 0, 1 << 20);
        staged.Dispose();
        Assert.Equal(0, budget.Used);
    }

    [Fact]
    public void A_full_area_takes_no_more_and_says_so()
    {
        StagingBudget budget = new(5 << 20);
        StagedMemory first = new(budget);
        int taken = 0;
        while (first.TryPut(Pid, Address(taken), Content(taken, 1)))
        {
            taken++;
        }

        Assert.Equal(1024, taken);
        Assert.True(first.TryPut(Pid, Address(2000), []), "a zero page needs no room");
        Assert.True(first.TryPut(Pid, Address(5), Content(5, 2)), "a page that is there already needs none either");
        using StagedMemory second = new(budget);
        Assert.False(second.TryPut(Pid, Address(0), Content(0, 1)), "the limit is that of all sessions");
        first.Dispose();
        Assert.True(second.TryPut(Pid, Address(0), Content(0, 1)));
    }

    /// <summary>The kernel allows a process 65,530 mappings: with one for each 2 MiB, some 130 GB of staged pages took them all.</summary>
    [Fact]
    public void Much_memory_and_holes_in_it_take_few_mappings()
    {
        const int Slabs = 2000;
        const int SlotsPerSlab = 512;
        using StagedSlabs slabs = new(new StagingBudget(long.MaxValue));
        int before = Mappings();
        for (int slot = 1; slot <= Slabs * SlotsPerSlab; slot++)
        {
            Assert.Equal(slot, slabs.Take());
        }

        slabs.Seal();
        for (int slab = 0; slab < Slabs; slab += 2)
        {
            slabs.Release((slab * SlotsPerSlab) + 1, SlotsPerSlab);
        }

        Assert.InRange(Mappings() - before, 0, 200);
    }

    private static int Mappings() => File.ReadLines("/proc/self/maps").Count();

    private static ulong Address(int page) => Base + PageSize.ToBytes((ulong)page);

    private static byte[] Expected(int page) =>
        page % 10 == 0 || (page % 5 != 0 && page % 7 == 3) ? new byte[PageSize.Bytes] : Content(page, (byte)(page % 5 == 0 ? 2 : 1));

    private static byte[] Content(int page, byte generation)
    {
        byte[] bytes = new byte[PageSize.Bytes];
        BitConverter.TryWriteBytes(bytes, page);
        bytes[^1] = generation;
        return bytes;
    }
}
