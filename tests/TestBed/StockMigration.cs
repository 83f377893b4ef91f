using System.Diagnostics;

namespace PostCopy.Tests.TestBed;

/// <summary>Post-copy with what runc and CRIU bring themselves, or with one of the two drop-ins in its place: what postcopy is compared with.</summary>
/// <remarks>
/// What needs care between two hosts:
/// <list type="bullet">
/// <item>Without pipes of 4 MiB (<see cref="PipeSize"/>) the first page request fails ("splice: Bad file descriptor") and the source rolls back.</item>
/// <item>The socket between <c>criu lazy-pages</c> and <c>criu restore</c> lies in the work directory: both get the same one.</item>
/// <item>The status byte comes when the page server listens; end of file without it means the dump failed.</item>
/// <item>runc has the page server listen on 0.0.0.0, whatever address is given.</item>
/// </list>
/// </remarks>
internal static class StockMigration
{
    private const int PageServerPort = 7027;
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(3);

    public static async Task<StockTimes> RunAsync(
        Lab lab, Container container, LabHost from, LabHost to, string? bundleThere = null, bool tcpEstablished = false, bool ourServer = false, bool ourDaemon = false)
    {
        PipeSize.Allow();
        bundleThere ??= container.Bundle;
        string[] options = tcpEstablished ? ["--tcp-established"] : [];
        string work = $"{lab.Shared}/stock-{Guid.NewGuid():N}";
        foreach (string name in (string[])["images", "dump", "restore"])
        {
            Directory.CreateDirectory($"{work}/{name}");
        }

        Stopwatch clock = Stopwatch.StartNew();
        string[] serve = ourServer
            ? [Repository.PostCopy, "page-server", "--runc", container.Id, "--address", from.Address, "--port", $"{PageServerPort}", "--status-fd", "3", "-D", $"{work}/images", "-W", $"{work}/dump", "--", .. options]
            : ["runc", "checkpoint", "--lazy-pages", "--page-server", $"0.0.0.0:{PageServerPort}", "--status-fd", "3", "--image-path", $"{work}/images", "--work-path", $"{work}/dump", .. options, container.Id];
        await using RunningCommand dump = from.Start(["bash", "-c",
            "mkfifo $0/status; \"$@\" 3>$0/status & pid=$!; head -c 1 $0/status | od -An -tx1; wait $pid", work, .. serve]);
        await dump.WaitForOutputAsync(command => command.Output.Contains("00", StringComparison.Ordinal), Limit);
        TimeSpan dumped = clock.Elapsed;

        CopyImages($"{work}/images", $"{work}/images-there");
        TimeSpan copied = clock.Elapsed;

        await using RunningCommand lazyPages = to.Start(ourDaemon ? Repository.PostCopy : "criu", "lazy-pages", "--page-server", "--address", from.Address,
            "--port", $"{PageServerPort}", "-D", $"{work}/images-there", "-W", $"{work}/restore", "-o", "lazy-pages.log", "-v2");
        string socket = $"{work}/restore/lazy-pages.socket";
        await Condition.WaitAsync(() => File.Exists(socket) || lazyPages.HasExited, Limit, "the lazy-pages daemon's socket");

        CommandResult restore = await to.TryAsync(Container.DetachedRunc($"{work}/runc-restore.log", ["restore", "-d", "--lazy-pages",
            "--image-path", $"{work}/images-there", "--work-path", $"{work}/restore", "--bundle", bundleThere, .. options, container.Id]));
        if (restore.ExitCode != 0)
        {
            throw new InvalidOperationException($"{restore}\n{FirstErrors(work)}");
        }

        TimeSpan restored = clock.Elapsed;
        (await lazyPages.WaitAsync(Limit)).EnsureSuccess();
        (await dump.WaitAsync(Limit)).EnsureSuccess();
        return new StockTimes(dumped, copied - dumped, restored - copied, clock.Elapsed - restored);
    }

    private static void CopyImages(string source, string destination)
    {
        Directory.CreateDirectory(destination);
        foreach (string file in Directory.GetFiles(source))
        {
            File.Copy(file, Path.Combine(destination, Path.GetFileName(file)));
        }
    }

    private static string FirstErrors(string work) => string.Join('\n',
        Directory.GetFiles(work, "*.log", SearchOption.AllDirectories).SelectMany(File.ReadLines)
            .Where(line => line.Contains("rror", StringComparison.Ordinal) && !line.Contains("RLIMIT_NOFILE", StringComparison.Ordinal)));
}

/// <summary>How long each step took, around its commands; the container stands still for most of the first three.</summary>
internal sealed record StockTimes(TimeSpan Dump, TimeSpan CopyImages, TimeSpan Restore, TimeSpan Drain);
