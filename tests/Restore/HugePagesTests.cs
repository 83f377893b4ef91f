using System.Globalization;
using System.Runtime.InteropServices;
using PostCopy.Restore;

namespace PostCopy.Tests.Restore;

/// <summary>Of this very process: nothing else's memory is needed.</summary>
public sealed unsafe partial class HugePagesTests
{
    private const int Bytes = 16 << 20;
    private const int HugeBytes = 2 << 20;
    private const int PageBytes = 4096;

    [SkippableFact]
    public void Full_memory_is_joined_and_nothing_grows()
    {
        const string size = "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size";
        Skip.IfNot(File.Exists(size) && File.ReadAllText(size).Trim() == $"{HugeBytes}", "needs transparent huge pages of 2 MiB");
        byte* full = Map(), holes = Map(), zeroes = Map();
        try
        {
            for (int at = 0; at < Bytes; at += PageBytes)
            {
                full[at] = (byte)(1 + (at / PageBytes % 251));
                if (at / PageBytes % 7 != 0)
                {
                    holes[at] = 1;
                }

                // Read, not written: the kernel's page of zeroes.
                Assert.Equal(0, zeroes[at]);
            }

            // Some kernels have no page of zeroes that all share (pvm_no_zero_page): what was read is memory like any other there.
            long ofZeroes = Resident(zeroes);
            long before = Resident(holes) + ofZeroes;
            (ulong joined, ulong possible) = HugePages.Collapse([Environment.ProcessId]);
            Skip.If(possible == 0, "needs Linux 6.7 (PAGEMAP_SCAN)");
            Assert.InRange(Huge(full), Bytes - (2 * HugeBytes), Bytes);
            Assert.True(joined >= (ulong)Huge(full));
            Assert.Equal(0, Huge(holes));
            Assert.True(Huge(zeroes) == 0 || ofZeroes == Bytes, $"{Huge(zeroes)} bytes of the kernel's page of zeroes were joined, of {ofZeroes} that had memory before");
            Assert.Equal(before, Resident(holes) + Resident(zeroes));
            for (int at = 0; at < Bytes; at += PageBytes)
            {
                Assert.Equal((byte)(1 + (at / PageBytes % 251)), full[at]);
            }
        }
        finally
        {
            foreach (nint memory in (ReadOnlySpan<nint>)[(nint)full, (nint)holes, (nint)zeroes])
            {
                _ = munmap((byte*)memory, Bytes);
            }
        }
    }

    /// <summary>Fenced by a page without access, so that it is a mapping of its own.</summary>
    private static byte* Map()
    {
        byte* memory = mmap(null, Bytes + PageBytes, prot: 3, flags: 0x22, -1, 0);
        Assert.NotEqual(-1, (nint)memory);
        Assert.Equal(0, mprotect(memory + Bytes, PageBytes, 0));
        return memory;
    }

    private static long Huge(byte* memory) => Field(memory, "AnonHugePages:");

    private static long Resident(byte* memory) => Field(memory, "Rss:");

    private static long Field(byte* memory, string name)
    {
        string start = ((nuint)memory).ToString("x", CultureInfo.InvariantCulture);
        string line = File.ReadLines("/proc/self/smaps").SkipWhile(line => !line.StartsWith($"{start}-", StringComparison.Ordinal)).First(line => line.StartsWith(name, StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
    }

    [LibraryImport("libc")]
    private static partial byte* mmap(byte* address, nuint length, int prot, int flags, int fd, nint offset);

    [LibraryImport("libc")]
    private static partial int mprotect(byte* address, nuint length, int prot);

    [LibraryImport("libc")]
    private static partial int munmap(byte* address, nuint length);
}
