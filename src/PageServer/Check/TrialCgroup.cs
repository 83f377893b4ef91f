using System.Globalization;
using PostCopy.Linux;

namespace PostCopy.Check;

/// <summary>A cgroup made for one trial, where a migration would freeze. Its process must have ended before it is disposed.</summary>
internal sealed class TrialCgroup : IAsyncDisposable
{
    private static readonly TimeSpan TimeLimit = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(1);

    private readonly FreezerCgroup _freezer;

    private TrialCgroup(FreezerCgroup freezer) => _freezer = freezer;

    public bool IsV2 => _freezer.IsV2;

    /// <summary>Throws <see cref="IOException"/> when no freezer hierarchy is mounted.</summary>
    public static TrialCgroup Create()
    {
        // A name of its own: an agent may be asked by several at once.
        string directory = Path.Combine(FreezerCgroup.Root, $"postcopy-check-{Environment.ProcessId}-{Guid.NewGuid():N}");
        Directory.CreateDirectory(directory);
        return new TrialCgroup(FreezerCgroup.At(directory));
    }

    public void Add(int pid) => File.WriteAllText(Path.Combine(_freezer.Directory, "cgroup.procs"), pid.ToString(CultureInfo.InvariantCulture));

    /// <summary>Returns when the kernel says that it is frozen.</summary>
    public Task FreezeAsync(CancellationToken cancellationToken)
    {
        _freezer.Freeze();
        return WaitAsync(isFrozen: true, cancellationToken);
    }

    /// <summary>Does not wait for it to take effect.</summary>
    public void Thaw() => _freezer.Thaw();

    /// <summary>Returns when the kernel says that it is thawed.</summary>
    public Task WaitThawedAsync(CancellationToken cancellationToken) => WaitAsync(isFrozen: false, cancellationToken);

    /// <summary>The kernel lets go of a cgroup a moment after its last process was reaped, hence the retries.</summary>
    public async ValueTask DisposeAsync()
    {
        long deadline = Environment.TickCount64 + (long)TimeLimit.TotalMilliseconds;
        while (Mono.Unix.Native.Syscall.rmdir(_freezer.Directory) != 0)
        {
            Errno errno = (Errno)Mono.Unix.Native.Stdlib.GetLastError();
            if (errno != Errno.EBUSY || Environment.TickCount64 > deadline)
            {
                throw new LinuxException($"rmdir of {_freezer.Directory}", errno);
            }

            await Task.Delay(PollInterval).ConfigureAwait(false);
        }
    }

    private async Task WaitAsync(bool isFrozen, CancellationToken cancellationToken)
    {
        (string file, string frozen) = _freezer.Report;
        long deadline = Environment.TickCount64 + (long)TimeLimit.TotalMilliseconds;
        while (File.ReadLines(file).Contains(frozen) != isFrozen)
        {
            if (Environment.TickCount64 > deadline)
            {
                throw new TimeoutException($"{file} did not {(isFrozen ? "come to" : "go on from")} \"{frozen}\" within {TimeLimit.TotalSeconds} s.");
            }

            await Task.Delay(PollInterval, cancellationToken).ConfigureAwait(false);
        }
    }
}
