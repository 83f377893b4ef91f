using System.Globalization;

namespace PostCopy.Tests.TestBed;

/// <summary>A swap file of this machine's, for as long as a test needs it.</summary>
internal sealed class SwapFile : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
    private readonly string _path;

    private SwapFile(string path) => _path = path;

    public long UsedKilobytes => long.Parse(
        File.ReadLines("/proc/swaps").First(line => line.StartsWith(_path, StringComparison.Ordinal)).Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries)[3], CultureInfo.InvariantCulture);

    /// <summary>Skips the test where the kernel or the file system allows none.</summary>
    public static async Task<SwapFile> OnAsync(int mebibytes)
    {
        string path = Path.Combine(Path.GetTempPath(), $"postcopy-swap-{Environment.ProcessId}-{Guid.NewGuid():N}");
        CommandResult on = await RunningCommand.RunAsync(Limit, "bash", "-c", "umask 077; dd if=/dev/zero of=\"$1\" bs=1M count=\"$2\" status=none && mkswap -q \"$1\" && swapon \"$1\" || { rm -f \"$1\"; exit 1; }", "swap", path, $"{mebibytes}");
        Skip.IfNot(on.ExitCode == 0, $"no swap file is possible here: {on.Error}");
        return new SwapFile(path);
    }

    public async ValueTask DisposeAsync() => (await RunningCommand.RunAsync(Limit, "bash", "-c", "swapoff \"$1\"; rm \"$1\"", "swap", _path)).EnsureSuccess();
}
