using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using PostCopy.Linux;
using PostCopy.Userfault;

namespace PostCopy.Tests.Faults;

/// <summary>A running <see cref="FaultingProgram"/>, stopped before it touches its memory.</summary>
internal sealed partial class FaultingTask : IDisposable
{
    private const int SYS_pidfd_open = 434;
    private const int SYS_pidfd_getfd = 438;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private readonly Process _process;

    public FaultingTask(FaultingProgram program, string scenario, ulong pages, ulong owedEnd, int threads = 1, ulong seed = 1)
    {
        string[] arguments = [scenario, .. new[] { pages, owedEnd, (ulong)threads, seed }.Select(number => number.ToString(CultureInfo.InvariantCulture))];
        _process = Process.Start(new ProcessStartInfo(program.Path, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        string[] words = (ReadLine() ?? "nothing").Split(' ');
        Skip.If(words[0] == "unsupported", $"userfaultfd with fork, remap, remove and unmap events is not permitted here: {string.Join(' ', words)}");
        Start = ulong.Parse(words[2], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        Uffd = new Userfaultfd(Steal(int.Parse(words[1], CultureInfo.InvariantCulture)));
    }

    /// <summary>Address of its memory.</summary>
    public ulong Start { get; }

    public Userfaultfd Uffd { get; }

    public int Pid => _process.Id;

    public void Go()
    {
        _process.StandardInput.WriteLine("go");
        _process.StandardInput.Flush();
    }

    public void Expect(string line) => Assert.Equal(line, ReadLine() ?? $"stopped: {_process.StandardError.ReadToEnd()}");

    public void ExpectExit()
    {
        Assert.True(_process.WaitForExit(Patience), "the task hangs");
        Assert.True(_process.ExitCode == 0, _process.StandardError.ReadToEnd());
    }

    public void ExpectDeathBySigbus()
    {
        Assert.True(_process.WaitForExit(Patience), "the task hangs");
        Assert.Equal(128 + 7, _process.ExitCode);
    }

    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
            _process.WaitForExit();
        }

        _process.Dispose();
    }

    private string? ReadLine()
    {
        Task<string?> line = _process.StandardOutput.ReadLineAsync();
        Assert.True(line.Wait(Patience), "the task hangs");
        return line.Result;
    }

    private int Steal(int descriptor)
    {
        nint pidfd = syscall(SYS_pidfd_open, _process.Id, 0, 0);
        nint stolen = pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, descriptor, 0);
        if (stolen < 0)
        {
            throw LinuxException.Last("pidfd_getfd");
        }

        Assert.Equal(0, close(pidfd));
        return (int)stolen;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint syscall(nint number, nint first, nint second, nint third);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int close(nint fd);
}
