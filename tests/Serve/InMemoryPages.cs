using PostCopy.Memory;
using PostCopy.Pages;

namespace PostCopy.Tests.Serve;

/// <summary>An address space whose every byte follows from its address, with pages that cannot be read where the test says.</summary>
internal sealed class InMemoryPages : IPageSource
{
    /// <summary>A page that cannot be read.</summary>
    public ulong Unreadable { get; init; } = ulong.MaxValue;

    public int Read(ImagePid addressSpace, ulong address, Span<byte> destination)
    {
        for (int done = 0; done < destination.Length; done += PageSize.Bytes)
        {
            if (address + (ulong)done == Unreadable)
            {
                return done;
            }

            Page(addressSpace, address + (ulong)done).CopyTo(destination[done..]);
        }

        return destination.Length;
    }

    /// <summary>What a page holds: every fifth is zero.</summary>
    public static byte[] Page(ImagePid pid, ulong address)
    {
        byte[] page = new byte[PageSize.Bytes];
        ulong number = address >> PageSize.Shift;
        if (number % 5 != 0)
        {
            BitConverter.TryWriteBytes(page, number);
            BitConverter.TryWriteBytes(page.AsSpan(PageSize.Bytes - 8), ((ulong)pid.Value << 32) | 1);
        }

        return page;
    }
}
