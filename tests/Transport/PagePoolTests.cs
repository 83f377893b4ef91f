using System.Buffers;
using System.Globalization;
using PostCopy.Buffers;

namespace PostCopy.Tests.Transport;

public sealed class PagePoolTests
{
    [Fact]
    public void Blocks_are_used_again()
    {
        using PagePool pool = new();
        IMemoryOwner<byte> first = pool.Rent();
        Memory<byte> memory = first.Memory;
        Assert.Equal(PagePool.BlockBytes, memory.Length);
        memory.Span[0] = 7;
        Assert.Equal(1, pool.Rented);
        first.Dispose();
        Assert.Equal(0, pool.Rented);
        using IMemoryOwner<byte> again = pool.Rent(100);
        Assert.Equal(7, again.Memory.Span[0]);
    }

    [Fact]
    public void Larger_blocks_are_made_for_the_occasion()
    {
        using PagePool pool = new();
        using IMemoryOwner<byte> large = pool.Rent(PagePool.BlockBytes + 1);
        Assert.True(large.Memory.Length > PagePool.BlockBytes);
        Assert.Equal(0, pool.Rented);
    }

    [Fact]
    public void Everything_is_unmapped_in_the_end_whoever_returned_it_when()
    {
        PagePool pool = new();
        IMemoryOwner<byte>[] blocks = [.. Enumerable.Range(0, 64).Select(_ => pool.Rent())];
        ulong[] addresses = [.. blocks.Select(AddressOf)];
        Assert.Equal(64, Mapped(addresses));
        Parallel.ForEach(blocks.Take(32), static block => block.Dispose());
        pool.Dispose();
        Assert.Throws<ObjectDisposedException>(() => pool.Rent());
        Parallel.ForEach(blocks.Skip(32), static block => block.Dispose());
        Assert.Equal(0, pool.Rented);
        // Other tests may have got some of these addresses for their own memory meanwhile, but not most of them.
        Assert.InRange(Mapped(addresses), 0, 31);
    }

    private static unsafe ulong AddressOf(IMemoryOwner<byte> block)
    {
        using MemoryHandle handle = block.Memory.Pin();
        return (ulong)handle.Pointer;
    }

    private static int Mapped(ulong[] addresses)
    {
        (ulong Start, ulong End)[] maps =
        [
            .. File.ReadLines("/proc/self/maps").Select(static line => line.Split('-', ' '))
                .Select(static words => (ulong.Parse(words[0], NumberStyles.HexNumber), ulong.Parse(words[1], NumberStyles.HexNumber))),
        ];
        return addresses.Count(address => maps.Any(map => address >= map.Start && address < map.End));
    }
}
