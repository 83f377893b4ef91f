using PostCopy.LazyPages;
using PostCopy.Tests.Images;

namespace PostCopy.Tests.DropIn;

/// <summary>A program that embeds the daemon may change its mind as long as nothing runs.</summary>
public sealed class CancelledDaemonTests : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private readonly string _directory = Directory.CreateTempSubdirectory("postcopy-daemon-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task Nobody_has_connected_and_nothing_is_left()
    {
        using SyntheticImages images = new();
        File.WriteAllBytes(Path.Combine(images.Path, "pages-1.img"), new byte[4 * Environment.SystemPageSize]);
        images.Pagemap(SyntheticImages.Entry(0, 4, flags: 6));
        string keeper = Path.Combine(_directory, "keeper");
        // Ends when it is told to let go, or when the daemon's end closes.
        await File.WriteAllTextAsync(keeper, "#!/bin/sh\nexec head -c 1 <&3 >/dev/null\n");
        File.SetUnixFileMode(keeper, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        LazyPagesDaemon daemon = new(new LazyPagesOptions
        {
            ImagesDirectory = images.Path,
            // The daemon makes it the process's own.
            WorkDirectory = Directory.GetCurrentDirectory(),
            StateDirectory = Path.Combine(_directory, "state"),
            KeeperProgram = keeper,
        });
        using CancellationTokenSource cancelling = new();
        Task<bool> running = daemon.RunAsync(cancelling.Token);
        await cancelling.CancelAsync();
        Assert.False(await running.WaitAsync(Patience));
        Assert.Empty(Directory.GetFileSystemEntries(Path.Combine(_directory, "state")));
        Assert.False(File.Exists("lazy-pages.socket"));
    }
}
