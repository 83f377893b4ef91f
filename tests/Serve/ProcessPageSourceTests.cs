using System.Diagnostics;
using System.Globalization;
using PostCopy.Memory;
using PostCopy.Pages;

namespace PostCopy.Tests.Serve;

/// <summary>Against a real process, whose page 0 is readable, page 1 PROT_NONE, page 2 unmapped and 3 to 39 readable, but for page 20, which is PROT_NONE; behind them nothing is mapped.</summary>
public sealed class ProcessPageSourceTests : IDisposable
{
    private const string Program = """
        #define _GNU_SOURCE
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(void)
        {
            long size = sysconf(_SC_PAGESIZE);
            char *memory = mmap(NULL, 41 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED)
                return 1;
            for (int page = 0; page < 40; page++)
                memset(memory + page * size, 'a' + page, size);
            if (mprotect(memory + size, size, PROT_NONE) || mprotect(memory + 20 * size, size, PROT_NONE) || munmap(memory + 2 * size, size) || munmap(memory + 40 * size, size))
                return 1;
            printf("%lx\n", (unsigned long)memory);
            fflush(stdout);
            getchar();
            return 0;
        }
        """;

    private static readonly ImagePid Pid = new(3);

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("postcopy-wire-source-");
    private readonly Process _process;
    private readonly ProcessPageSource _source;
    private readonly ulong _start;

    public ProcessPageSourceTests()
    {
        string source = Path.Combine(_directory.FullName, "memory.c");
        string program = Path.Combine(_directory.FullName, "memory");
        File.WriteAllText(source, Program);
        using Process gcc = Process.Start("gcc", ["-Wall", "-Werror", "-o", program, source]);
        gcc.WaitForExit();
        Assert.Equal(0, gcc.ExitCode);
        _process = Process.Start(new ProcessStartInfo(program) { RedirectStandardInput = true, RedirectStandardOutput = true })!;
        _start = ulong.Parse(_process.StandardOutput.ReadLine()!, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        _source = new ProcessPageSource(new Dictionary<ImagePid, int> { [Pid] = _process.Id });
    }

    [Fact]
    public void Reads_what_is_there_and_what_the_task_itself_may_not_read()
    {
        AssertRead(page: 0, asked: 1, "a");
        AssertRead(page: 1, asked: 1, "b");
        AssertRead(page: 0, asked: 2, "ab");
        AssertRead(page: 3, asked: 2, "de");
    }

    /// <summary>By process_vm_readv(2), which stops in front of page 20.</summary>
    [Fact]
    public void Reads_much_at_once()
    {
        AssertRead(page: 3, asked: 37, Pages(3, 37));
        AssertRead(page: 20, asked: 20, Pages(20, 20));
        AssertRead(page: 3, asked: 100, Pages(3, 37));
        _process.Kill();
        _process.WaitForExit();
        Assert.Throws<PageSourceException>(() => _source.Read(Pid, _start + PageSize.ToBytes(3), new byte[37 * PageSize.Bytes]));
    }

    [Fact]
    public void Ends_in_front_of_what_is_not_mapped()
    {
        AssertRead(page: 2, asked: 1, "");
        AssertRead(page: 1, asked: 4, "b");
        AssertRead(page: 0, asked: 5, "ab");
    }

    [Fact]
    public void An_unknown_process_is_said_as_such() =>
        Assert.Contains("process 4 of the images", Assert.Throws<PageSourceException>(() => _source.Read(new ImagePid(4), _start, new byte[PageSize.Bytes])).Message);

    [Fact]
    public void A_process_that_is_gone_has_no_memory_and_no_zeroes()
    {
        AssertRead(page: 1, asked: 1, "b");
        _process.Kill();
        _process.WaitForExit();
        Assert.Throws<PageSourceException>(() => _source.Read(Pid, _start, new byte[PageSize.Bytes]));
        Assert.Throws<PageSourceException>(() => _source.Read(Pid, _start + PageSize.ToBytes(1), new byte[PageSize.Bytes]));
    }

    [Fact]
    public void Threads_may_read_at_the_same_time() => Parallel.For(0, 1000, i => AssertRead(page: i % 2, asked: 1, i % 2 == 0 ? "a" : "b"));

    public void Dispose()
    {
        _source.Dispose();
        _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
        _directory.Delete(recursive: true);
    }

    private static string Pages(int first, int count) => string.Concat(Enumerable.Range('a' + first, count).Select(static letter => (char)letter));

    private void AssertRead(int page, int asked, string expected)
    {
        byte[] bytes = new byte[asked * PageSize.Bytes];
        Array.Fill(bytes, (byte)'?');
        Assert.Equal(expected.Length * PageSize.Bytes, _source.Read(Pid, _start + PageSize.ToBytes((ulong)page), bytes));
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.False(bytes.AsSpan(i * PageSize.Bytes, PageSize.Bytes).ContainsAnyExcept((byte)expected[i]), $"page {page + i}");
        }
    }
}
