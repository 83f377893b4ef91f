using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.CriuWire;
using PostCopy.Faults;
using PostCopy.Images;
using PostCopy.Keeper;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Restore;
using PostCopy.Userfault;

namespace PostCopy.LazyPages;

/// <summary>
/// In the place of <c>criu lazy-pages</c>: one <c>criu restore --lazy-pages</c> connects, its tasks' faults are served at once, and when it is
/// finished everything else is fetched.
/// </summary>
/// <remarks>
/// It differs where that one loses data. A page server hears of success only when every page is installed or dropped by the task itself: any other
/// end of this process resets the connection, so that a dump's tasks resume. And a keeper process holds the userfaultfds, so that after
/// the death of this process tasks wait for their pages instead of reading zeroes.
/// </remarks>
/// <param name="options">Where the images and the pages are.</param>
/// <param name="logger">Hears of the restore and of what becomes of the pages; null for nobody.</param>
public sealed class LazyPagesDaemon(LazyPagesOptions options, ILogger<LazyPagesDaemon>? logger = null)
{
    private readonly ILogger _logger = logger ?? NullLogger<LazyPagesDaemon>.Instance;

    /// <summary>Serves one restore. Returns true when all pages are where they belong; false, with the reason logged, when not.</summary>
    /// <remarks>Makes the work directory the process's current one, as CRIU does: a unix socket's path is short, a work directory's need not be.</remarks>
    /// <param name="cancellation">
    /// Until CRIU has finished the restore, cancelling has it fail, and returns false: nothing of it ran. From then on it is too late, and cancelling does nothing: the
    /// tasks run, and need their pages.
    /// </param>
    /// <exception cref="IOException">It could not begin: the images, the directory, the keeper. Nobody has connected yet.</exception>
    public async Task<bool> RunAsync(CancellationToken cancellation = default)
    {
        options.PageServer?.Tls?.RequireUsable();
        string imageDirectory = Path.GetFullPath(options.ImagesDirectory);
        Directory.SetCurrentDirectory(options.WorkDirectory ?? imageDirectory);
        ImageSet images = ImageDirectory.Open(imageDirectory);
        OwedMemory owed = OwedMemory.From(images);

        using ImagePageSource stored = new(imageDirectory);
        using IPageFeeder feeder = CreateFeeder(images, stored);
        string program = options.KeeperProgram ?? throw new IOException("the program to start as keeper is not known (KeeperProgram)");
        string state = MakeStateDirectory();
        bool isKeepersNow = false;
        try
        {
            using EventJournal journal = EventJournal.Create(Path.Combine(state, KeeperProtocol.JournalName));
            using StandingKeeper keeper = new(program, state, _logger);
            using LazyMemory memory = new(owed.Ranges, feeder, keeper, _logger, journal);
            End end = await ServeAsync(images, owed, feeder, keeper, memory, cancellation).ConfigureAwait(false);
            isKeepersNow = end == End.Lost;
            return end == End.Complete;
        }
        finally
        {
            if (!isKeepersNow)
            {
                Directory.Delete(state, recursive: true);
            }
        }
    }

    private enum End
    {
        Complete,
        NotRestored,
        TasksEnded,
        Lost,
    }

    /// <summary>For the keeper and its journal; the keeper removes it when it outlives this process.</summary>
    private string MakeStateDirectory()
    {
        const UnixFileMode OnlyRoot = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        Directory.CreateDirectory(options.StateDirectory, OnlyRoot);
        return Directory.CreateDirectory(Path.Combine(options.StateDirectory, $"lazy-pages-{Guid.NewGuid():N}"), OnlyRoot).FullName;
    }

    private async Task<End> ServeAsync(ImageSet images, OwedMemory owed, IPageFeeder feeder, StandingKeeper keeper, LazyMemory memory, CancellationToken cancellation)
    {
        TaskCompletionSource memoryFailed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        memory.Failed += e => memoryFailed.TrySetException(e);
        HashSet<ImagePid> listed = [.. images.Processes.Select(static process => process.Pid)];
        bool started = false;
        using LazyPagesSocket socket = Listen((pid, uffd) =>
        {
            if (!listed.Contains(pid))
            {
                // Left open, and not served: whatever was not told of it would read as zeroes.
                throw new IOException($"CRIU restores a process {pid}, which {images.Path} does not have: these are other images than its");
            }

            // Not earlier: as long as nobody connects, a dump's page server is to wait for whoever does.
            if (!started)
            {
                started = true;
                LazyPagesLog.Connected(_logger);
                feeder.Start(memory);
            }

            memory.Add(pid, uffd);
        });
        LazyPagesLog.Listening(
            _logger, Path.GetFullPath(SocketName), owed.TotalPages, owed.Ranges.Count, options.PageServer?.ToString() ?? Path.GetFullPath(options.ImagesDirectory));
        SayReady();

        Exception? failure = await FailureOfAsync(Task.WhenAny(socket.Finished, feeder.Failed, memoryFailed.Task).Unwrap().WaitAsync(cancellation)).ConfigureAwait(false);
        // CRIU first, then the server: while the one can finish the restore, the other must not hear that it failed.
        if (failure is not null && !socket.Conclude())
        {
            LazyPagesLog.NotRestored(_logger, failure.Message);
            feeder.Abort();
            await keeper.ReleaseAsync().ConfigureAwait(false);
            return End.NotRestored;
        }

        if (failure is OperationCanceledException && cancellation.IsCancellationRequested)
        {
            // Too late: CRIU had finished, and no page is lost.
            failure = null;
        }

        // Tasks run from here on, whatever has failed: now it is the keeper that stands between our death and zeroes in their memory.
        await keeper.WatchAsync(memory).ConfigureAwait(false);
        failure ??= await FailureOfAsync(DrainAsync(feeder, keeper, memory, memoryFailed.Task)).ConfigureAwait(false);
        if (failure is not null)
        {
            await keeper.WatchAsync(memory).ConfigureAwait(false);
            feeder.Abort();
            LazyPagesLog.Lost(_logger, memory.Counters.Remaining, failure.Message, options.PageServer is null ? LazyPagesLog.LostFromImages : LazyPagesLog.LostFromServer);
            return End.Lost;
        }

        bool ended = memory.HaveEndedBeforeTheirPages();
        if (ended)
        {
            feeder.Abort();
            LazyPagesLog.TasksEnded(
                _logger, memory.Counters.DroppedByExits, options.PageServer is null ? LazyPagesLog.EndedFromImages : LazyPagesLog.EndedFromServer);
        }
        else
        {
            await CompleteAsync(feeder).ConfigureAwait(false);
            SayDrained(memory);
        }

        memory.Close();
        await keeper.ReleaseAsync().ConfigureAwait(false);
        return ended ? End.TasksEnded : End.Complete;
    }

    /// <summary>Until every page is in place or needless, or one of them cannot come.</summary>
    private async Task DrainAsync(IPageFeeder feeder, StandingKeeper keeper, LazyMemory memory, Task memoryFailed)
    {
        memory.RestoreFinished();
        LazyPagesLog.Restored(_logger, memory.Counters.Remaining);
        feeder.RestoreFinished();
        Task end = Task.WhenAny(memory.Drained, feeder.Failed, memoryFailed).Unwrap();
        while (await Task.WhenAny(end, keeper.EndedAsync()).ConfigureAwait(false) != end)
        {
            await keeper.WatchAsync(memory).ConfigureAwait(false);
        }

        await end.ConfigureAwait(false);
    }

    private static async Task<Exception?> FailureOfAsync(Task step)
    {
        try
        {
            await step.ConfigureAwait(false);
            return null;
        }
        catch (Exception e) when (IsFailure(e))
        {
            return e;
        }
    }

    /// <summary>Everything is in place, whatever comes of telling the server.</summary>
    private async Task CompleteAsync(IPageFeeder feeder)
    {
        try
        {
            await feeder.CompleteAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (IsFailure(e))
        {
            LazyPagesLog.CloseNotHeard(_logger, e.Message);
        }
    }

    private const string SocketName = "lazy-pages.socket";

    private static LazyPagesSocket Listen(Action<ImagePid, Userfaultfd> arrived)
    {
        // What a daemon that was killed left behind; CRIU removes it as well.
        File.Delete(SocketName);
        try
        {
            LazyPagesSocket socket = new("");
            socket.Serve(arrived);
            return socket;
        }
        catch (SocketException e)
        {
            throw new IOException($"cannot listen at {Path.GetFullPath(SocketName)}: {e.Message}", e);
        }
    }

    private IPageFeeder CreateFeeder(ImageSet images, ImagePageSource stored)
    {
        FetchPlan plan = new(OwedEntries.Of(images, mustBePresent: options.PageServer is null));
        if (options.PageServer is not { } server)
        {
            return new LocalFeeder(stored, plan);
        }

        CriuFrameFormat format = (options.HeaderBytes ?? (PagemapDialect.IsSince42(images) == false ? 24 : 32)) == 24 ? CriuFrameFormat.UpTo41 : CriuFrameFormat.Since42;
        return new RemoteFeeder(() => server.Connect(format), plan);
    }

    private void SayReady()
    {
        if (options.StatusDescriptor is { } descriptor)
        {
            StatusByte.Write(descriptor);
        }
    }

    private void SayDrained(LazyMemory memory)
    {
        FaultCounters counters = memory.Counters;
        LatencyHistogram latency = memory.FaultLatency;
        LazyPagesLog.Drained(
            _logger,
            counters.InstalledByDemand,
            latency.Count,
            counters.InstalledByPush,
            counters.Dropped,
            latency.PercentileMicroseconds(0.5),
            latency.PercentileMicroseconds(0.99));
    }

    private static bool IsFailure(Exception e) => e is IOException or SocketException or InvalidDataException or ArgumentException or ExternalException or OperationCanceledException;
}
