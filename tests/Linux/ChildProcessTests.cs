using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using PostCopy.Linux;

namespace PostCopy.Tests.Linux;

public class ChildProcessTests
{
    private const int F_DUPFD = 0;
    private static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(30);

    private static string Program(string name) => ChildPath.Find(name) ?? throw new FileNotFoundException(name);

    private static async Task<ExitStatus> Shell(string script, params ChildDescriptor[] descriptors)
    {
        ChildProcess child = ChildProcess.Start(Program("bash"), ["--norc", "-c", script], descriptors: descriptors);
        return await child.WaitAsync(CancellationToken.None).WaitAsync(TimeLimit);
    }

    /// <summary>A file that is read through one descriptor and written by children through the same.</summary>
    private static SafeFileHandle TemporaryFile() =>
        File.OpenHandle(Path.GetTempFileName(), FileMode.Open, FileAccess.ReadWrite, options: FileOptions.DeleteOnClose);

    private static int Fd(SafeFileHandle handle) => (int)handle.DangerousGetHandle();

    private static string Content(SafeFileHandle file)
    {
        byte[] bytes = new byte[RandomAccess.GetLength(file)];
        RandomAccess.Read(file, bytes, 0);
        return System.Text.Encoding.UTF8.GetString(bytes);
    }

    [Fact]
    public async Task The_child_has_the_given_descriptors_and_no_others()
    {
        // Without close-on-exec, as a careless library would leave it: it must not reach the child all the same.
        using SafeFileHandle leak = TemporaryFile();
        int leaked = Libc.fcntl(Fd(leak), F_DUPFD, 100);
        Assert.True(leaked >= 100);
        using SafeFileHandle output = TemporaryFile();
        using SafeFileHandle other = TemporaryFile();
        try
        {
            // ls has one more open: the directory it lists, on the lowest free descriptor.
            ChildProcess child = ChildProcess.Start(
                Program("ls"), ["/proc/self/fd"], descriptors: [new(Fd(output), 1), new(Fd(other), 3), new(Fd(other), 6)]);
            ExitStatus status = await child.WaitAsync(CancellationToken.None).WaitAsync(TimeLimit);

            Assert.True(status.IsSuccess, status.ToString());
            Assert.Equal(["0", "1", "2", "3", "4", "6"], Content(output).Split('\n', StringSplitOptions.RemoveEmptyEntries).Order());
        }
        finally
        {
            Assert.Equal(0, Libc.close(leaked));
        }
    }

    [Fact]
    public async Task Sources_that_lie_where_others_go_are_not_overwritten()
    {
        using SafeFileHandle first = TemporaryFile();
        using SafeFileHandle second = TemporaryFile();
        int low = Math.Min(Fd(first), Fd(second));
        int high = Math.Max(Fd(first), Fd(second));
        SafeFileHandle lowFile = low == Fd(first) ? first : second;
        SafeFileHandle highFile = low == Fd(first) ? second : first;

        // Exchanged: each one's source is the other one's target.
        ExitStatus status = await Shell($"echo to-low >&{low}; echo to-high >&{high}", new ChildDescriptor(low, high), new ChildDescriptor(high, low));

        Assert.True(status.IsSuccess, status.ToString());
        Assert.Equal("to-high\n", Content(lowFile));
        Assert.Equal("to-low\n", Content(highFile));
    }

    [Fact]
    public async Task Standard_streams_not_given_are_the_null_device()
    {
        using SafeFileHandle output = TemporaryFile();
        ExitStatus status = await Shell("readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2 >&7", new ChildDescriptor(Fd(output), 7));

        Assert.True(status.IsSuccess, status.ToString());
        Assert.Equal("/dev/null\n/dev/null\n/dev/null\n", Content(output));
    }

    [Fact]
    public void One_target_named_twice_is_refused() =>
        Assert.Throws<ArgumentException>(() => ChildProcess.Start(Program("true"), [], descriptors: [new(0, 5), new(1, 5)]));

    // 32 and 33 belong to the C library, which ignores them in what it spawns until the new program's own C library takes them.
    private const ulong PublicSignals = ~(3UL << 31);

    [Fact]
    public async Task Signals_are_neither_blocked_nor_ignored()
    {
        // The runtime ignores SIGPIPE in this process; the child of an ordinary fork would inherit that.
        Assert.NotEqual(0UL, SignalSet("/proc/self/status", "SigIgn") & PublicSignals);
        CapturedChild child = await CapturedChild.RunAsync(Program("cat"), ["/proc/self/status"], null, null, CancellationToken.None);

        string file = Path.GetTempFileName();
        await File.WriteAllTextAsync(file, child.Output);
        Assert.Equal(0UL, SignalSet(file, "SigIgn") & PublicSignals);
        Assert.Equal(0UL, SignalSet(file, "SigBlk"));
        File.Delete(file);
    }

    private static ulong SignalSet(string file, string field) =>
        Convert.ToUInt64(File.ReadLines(file).First(line => line.StartsWith(field + ":", StringComparison.Ordinal)).Split('\t')[1], 16);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(255)]
    public async Task The_exit_code_is_reported(int code) =>
        Assert.Equal(new ExitStatus(code, 0), await Shell($"exit {code}"));

    [Fact]
    public async Task Death_by_signal_is_reported()
    {
        ChildProcess child = ChildProcess.Start(Program("sleep"), ["60"]);
        Assert.False(child.HasExited);
        child.Kill(Signal.SIGTERM);

        ExitStatus status = await child.WaitAsync(CancellationToken.None).WaitAsync(TimeLimit);
        Assert.Equal(new ExitStatus(0, Signal.SIGTERM), status);
        Assert.False(status.IsSuccess);
        Assert.Equal("killed by signal 15 (SIGTERM)", status.ToString());
        Assert.True(child.HasExited);
        child.Kill(Signal.SIGTERM); // does nothing, reaches nobody
    }

    [Fact]
    public async Task Cancelling_the_wait_leaves_the_child_alone()
    {
        ChildProcess child = ChildProcess.Start(Program("sleep"), ["60"]);
        using CancellationTokenSource cancelled = new();
        Task<ExitStatus> wait = child.WaitAsync(cancelled.Token);
        await cancelled.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => wait);
        Assert.False(child.HasExited);
        child.Kill(Signal.SIGKILL);
        Assert.Equal(Signal.SIGKILL, (await child.WaitAsync(CancellationToken.None).WaitAsync(TimeLimit)).Signal);
    }

    [Fact]
    public async Task Of_a_hundred_children_beside_those_of_the_runtime_none_is_lost()
    {
        const int Children = 100;
        using CancellationTokenSource done = new();
        Task churn = Task.Run(async () =>
        {
            while (!done.IsCancellationRequested)
            {
                using System.Diagnostics.Process process = System.Diagnostics.Process.Start(Program("true"));
                await process.WaitForExitAsync();
                Assert.Equal(0, process.ExitCode);
            }
        });

        Task<ExitStatus>[] waits = [.. Enumerable.Range(0, Children).Select(i => Task.Run(() => Shell($"exit {i}")))];
        ExitStatus[] statuses = await Task.WhenAll(waits).WaitAsync(TimeLimit);
        await done.CancelAsync();
        await churn.WaitAsync(TimeLimit);

        Assert.Equal(Enumerable.Range(0, Children), statuses.Select(status => status.Code));
        Assert.All(statuses, status => Assert.Equal((Signal)0, status.Signal));
    }

    [Fact]
    public async Task An_exited_child_leaves_no_zombie()
    {
        ChildProcess child = ChildProcess.Start(Program("true"), []);
        await child.WaitAsync(CancellationToken.None).WaitAsync(TimeLimit);
        Assert.False(Directory.Exists($"/proc/{child.Pid}"));
    }

    [Fact]
    public void A_program_that_cannot_be_executed_is_an_error_at_the_start()
    {
        LinuxException missing = Assert.Throws<LinuxException>(() => ChildProcess.Start("/no/such/program", []));
        Assert.Equal(Errno.ENOENT, missing.Errno);
        Assert.Contains("/no/such/program", missing.Message, StringComparison.Ordinal);
        Assert.Equal(Errno.EACCES, Assert.Throws<LinuxException>(() => ChildProcess.Start("/etc/passwd", [])).Errno);
    }

    [Fact]
    public async Task Environment_directory_and_session_are_as_asked_for()
    {
        using SafeFileHandle output = TemporaryFile();
        ChildProcess child = ChildProcess.Start(
            Program("bash"),
            ["--norc", "-c", "echo \"$COLOUR|$HOME|$PWD\"; cut -d' ' -f6 /proc/$$/stat"],
            new Dictionary<string, string> { ["COLOUR"] = "blue and grün" },
            [new(Fd(output), 1)],
            workingDirectory: "/proc",
            newSession: true);
        await child.WaitAsync(CancellationToken.None).WaitAsync(TimeLimit);

        // Field 6 of stat is the session; bash finds cut on the PATH it takes when there is none.
        Assert.Equal($"blue and grün||/proc\n{child.Pid}\n", Content(output));
    }

    [Fact]
    public async Task Our_environment_comes_with_the_childrens_path()
    {
        CapturedChild child = await CapturedChild.RunAsync(Program("bash"), ["--norc", "-c", "echo $PATH"], null, null, CancellationToken.None);
        Assert.Equal(ChildPath.Value, child.Output.Trim());
        Assert.StartsWith(ChildPath.PrivatePrefix + ":", ChildPath.Value, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Captured_streams_are_kept_apart_and_input_is_read()
    {
        CapturedChild child = await CapturedChild.RunAsync(
            Program("bash"), ["--norc", "-c", "read line; echo got $line; echo oops >&2; exit 3"], null, "hello\n", CancellationToken.None);
        Assert.Equal(new CapturedChild(new ExitStatus(3, 0), "got hello\n", "oops\n"), child);
    }

    [Fact]
    public async Task Captured_streams_are_bounded()
    {
        CapturedChild child = await CapturedChild.RunAsync(Program("head"), ["-c", "1000000", "/dev/zero"], null, null, CancellationToken.None);
        Assert.True(child.Status.IsSuccess);
        Assert.Equal(CapturedChild.MaxCapturedBytes, child.Output.Length);
    }

    [Fact]
    public async Task A_cancelled_capture_kills_and_reaps_its_child()
    {
        string marker = $"postcopy-{Guid.NewGuid()}";
        using CancellationTokenSource cancelled = new();
        Task<CapturedChild> run = CapturedChild.RunAsync(
            Program("bash"), ["--norc", "-c", "while :; do sleep 0.05; done", marker], null, null, cancelled.Token);
        Assert.True(SpinWait.SpinUntil(() => IsRunning(marker), TimeLimit)); // its start returns before its command line shows
        await cancelled.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run.WaitAsync(TimeLimit));
        Assert.False(IsRunning(marker));
    }

    private static bool IsRunning(string marker) =>
        Processes.CommandLines().Any(cmdline => cmdline.Contains(marker, StringComparison.Ordinal));

    [Fact]
    public void Native_layouts_are_those_of_the_kernel()
    {
        Assert.Equal(128, Marshal.SizeOf<Libc.ChildSignalInfo>());
        Assert.Equal(24, Marshal.SizeOf<UffdCalls.uffdio_api>());
        Assert.Equal(32, Marshal.SizeOf<UffdCalls.uffdio_register>());
        Assert.Equal(40, Marshal.SizeOf<UffdCalls.uffdio_copy>());
        Assert.Equal(96, Marshal.SizeOf<PagemapCalls.pm_scan_arg>());
        Assert.Equal(24, Marshal.SizeOf<PagemapCalls.page_region>());
    }
}
