using System.Globalization;
using PostCopy.Linux;

namespace PostCopy.Check;

/// <summary>
/// A freezer cgroup made for one trial: version 1 (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst) where its hierarchy is mounted,
/// since that is the one container managers use then, else version 2 (cgroup.freeze). Its process must have ended before it is disposed.
/// </summary>
internal sealed class FreezerCgroup : IAsyncDisposable
{
    private static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(1);

    private readonly string _directory;

    private FreezerCgroup(string directory, bool isV1)
    {
        _directory = directory;
        IsV1 = isV1;
    }

    public bool IsV1 { get; }

    /// <summary>Null when no freezer hierarchy is mounted.</summary>
    public static FreezerCgroup? Create()
    {
        string? v1 = FindMount("cgroup", "freezer");
        if ((v1 ?? FindMount("cgroup2", null)) is not string root)
            return null;
        string directory = Path.Combine(root, $"postcopy-check-{Environment.ProcessId}");
        Directory.CreateDirectory(directory);
        return new FreezerCgroup(directory, isV1: v1 is not null);
    }

    public void Add(int pid) => Write("cgroup.procs", pid.ToString(CultureInfo.InvariantCulture));

    /// <summary>Returns when the kernel says that it is frozen.</summary>
    public Task FreezeAsync(CancellationToken cancellationToken)
    {
        Write(IsV1 ? "freezer.state" : "cgroup.freeze", IsV1 ? "FROZEN" : "1");
        return WaitForAsync(IsV1 ? "freezer.state" : "cgroup.events", IsV1 ? "FROZEN" : "frozen 1", cancellationToken);
    }

    /// <summary>Does not wait for it to take effect.</summary>
    public void Thaw() => Write(IsV1 ? "freezer.state" : "cgroup.freeze", IsV1 ? "THAWED" : "0");

    /// <summary>Returns when the kernel says that it is thawed.</summary>
    public Task WaitThawedAsync(CancellationToken cancellationToken) =>
        WaitForAsync(IsV1 ? "freezer.state" : "cgroup.events", IsV1 ? "THAWED" : "frozen 0", cancellationToken);

    /// <summary>The kernel lets go of a cgroup a moment after its last process was reaped, hence the retries.</summary>
    public async ValueTask DisposeAsync()
    {
        long deadline = Environment.TickCount64 + (long)TimeLimit.TotalMilliseconds;
        while (Mono.Unix.Native.Syscall.rmdir(_directory) != 0)
        {
            Errno errno = (Errno)Mono.Unix.Native.Stdlib.GetLastError();
            if (errno != Errno.EBUSY || Environment.TickCount64 > deadline)
                throw new LinuxException($"rmdir of {_directory}", errno);
            await Task.Delay(PollInterval).ConfigureAwait(false);
        }
    }

    private void Write(string file, string value) => File.WriteAllText(Path.Combine(_directory, file), value);

    private async Task WaitForAsync(string file, string wanted, CancellationToken cancellationToken)
    {
        long deadline = Environment.TickCount64 + (long)TimeLimit.TotalMilliseconds;
        while (!File.ReadLines(Path.Combine(_directory, file)).Contains(wanted))
        {
            if (Environment.TickCount64 > deadline)
                throw new TimeoutException($"{file} did not become \"{wanted}\" within {TimeLimit.TotalSeconds} s.");
            await Task.Delay(PollInterval, cancellationToken).ConfigureAwait(false);
        }
    }

    // proc_pid_mountinfo(5): "36 35 98:0 / /mount/point rw,... optional fields - type source super,options"; blanks in the path are \040.
    private static string? FindMount(string type, string? superOption)
    {
        foreach (string line in File.ReadLines("/proc/self/mountinfo"))
        {
            string[] halves = line.Split(" - ", 2);
            string[] left = halves[0].Split(' ');
            string[] right = halves.Length == 2 ? halves[1].Split(' ') : [];
            if (left.Length < 5 || right.Length < 3 || right[0] != type)
                continue;
            if (superOption is null || right[2].Split(',').Contains(superOption))
                return left[4].Replace("\\040", " ", StringComparison.Ordinal);
        }
        return null;
    }
}
