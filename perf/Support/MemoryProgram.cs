using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Tests.TestBed;
using PostCopy.Userfault;

namespace PostCopy.Perf.Support;

/// <summary>A process with a region of memory (tests/TestPrograms/memory.c): the frozen task, or the restored one.</summary>
internal sealed partial class MemoryProgram : IDisposable
{
    private const int SYS_pidfd_open = 434;
    private const int SYS_pidfd_getfd = 438;

    private readonly Process _process;

    internal MemoryProgram(int mebibytes)
    {
        _process = Process.Start(new ProcessStartInfo(TestProgram.PathOf("memory"), [$"{mebibytes}"])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!;
        string[] words = ReadLine().Split(' ');
        Region = new PageRange(ulong.Parse(words[2], NumberStyles.HexNumber, CultureInfo.InvariantCulture), PageSize.PagesIn((ulong)mebibytes << 20));
        // Also what will be missing later: the host of a virtual machine gives it memory at the first touch, which must not be what is measured.
        Fill(dataEvery: 1);
    }

    internal int Pid => _process.Id;

    /// <summary>The same addresses in every process.</summary>
    internal PageRange Region { get; }

    /// <summary>Makes all of its memory missing. Returns the number that the new userfaultfd has in that process.</summary>
    internal int Arm() => int.Parse(Command("arm").Split(' ')[1], CultureInfo.InvariantCulture);

    /// <summary>Makes all of its memory missing and takes a duplicate of its userfaultfd.</summary>
    internal Userfaultfd ArmForUs()
    {
        int descriptor = Arm();
        nint pidfd = syscall(SYS_pidfd_open, Pid, 0, 0);
        nint stolen = pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, descriptor, 0);
        if (stolen < 0 || close((int)pidfd) != 0)
        {
            throw LinuxException.Last("pidfd_getfd");
        }

        return new Userfaultfd((int)stolen);
    }

    /// <summary>Writes what does not compress into every so manyth page and zeroes into the others; what <see cref="Verify"/> compares with, too.</summary>
    internal void Fill(int dataEvery) => Assert.Equal("filled", Command($"fill {dataEvery}"));

    internal WalkerSweep Sweep(string order) => WalkerSweep.Parse(Command($"sweep {order}"));

    /// <summary>By so many threads, each in its share of the region.</summary>
    internal WalkerSweep[] Sweep(string order, int threads)
    {
        WalkerSweep first = WalkerSweep.Parse(Command($"sweeps {threads} {order}"));
        return [first, .. Enumerable.Range(1, threads - 1).Select(_ => WalkerSweep.Parse(ReadLine()))];
    }

    /// <summary>Has it compare every byte. What is missing then must be served.</summary>
    internal void Verify() => Assert.Equal("OK", Command("verify"));

    public void Dispose()
    {
        _process.StandardInput.Close();
        if (!_process.WaitForExit(TimeSpan.FromSeconds(10)))
        {
            _process.Kill();
            _process.WaitForExit();
        }

        _process.Dispose();
    }

    private string Command(string command)
    {
        _process.StandardInput.WriteLine(command);
        _process.StandardInput.Flush();
        return ReadLine();
    }

    private string ReadLine() => _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException("the memory program has ended");

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint syscall(nint number, nint first, nint second, nint third);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int close(int fd);
}
