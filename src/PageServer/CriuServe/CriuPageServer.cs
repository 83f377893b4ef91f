using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.Buffers;
using PostCopy.CriuWire;
using PostCopy.Images;
using PostCopy.Linux;
using PostCopy.Pages;

namespace PostCopy.CriuServe;

/// <summary>
/// Serves pages in CRIU's protocol, both header sizes: from an image directory to any number of clients, or from a dump that it makes and holds
/// frozen to one at a time.
/// </summary>
/// <param name="options">What to serve, and where.</param>
/// <param name="logger">Hears of clients and of what becomes of a dump; null for nobody.</param>
public sealed class CriuPageServer(CriuPageServerOptions options, ILogger<CriuPageServer>? logger = null)
{
    /// <summary>Before another attempt when no client can be taken.</summary>
    private static readonly TimeSpan AcceptPause = TimeSpan.FromSeconds(1);

    private readonly ILogger _logger = logger ?? NullLogger<CriuPageServer>.Instance;
    private readonly ConcurrentDictionary<Socket, Thread> _sessions = new();
    private volatile DumpVerdict? _verdict;

    /// <summary>The address it listens on; null before <see cref="RunAsync"/> has come so far.</summary>
    public IPEndPoint? LocalEndPoint { get; private set; }

    /// <summary>
    /// Says what becomes of the dump that <see cref="RunAsync"/> holds frozen, by whoever knows where its tasks run: after a client has gone away without having fetched
    /// everything, only they can. <see cref="RunAsync"/> then comes to its end. Any thread may call it.
    /// </summary>
    /// <param name="isGoneElsewhere">
    /// True to discard the frozen copy: its tasks run, or have run, elsewhere. False to let it run on here; where its tasks run elsewhere as well, there are two of them then.
    /// </param>
    /// <returns>False, and nothing happens, when no dump is held at this moment, or this was decided before.</returns>
    public bool Decide(bool isGoneElsewhere) => _verdict is { } verdict && verdict.Decide(isGoneElsewhere);

    /// <summary>
    /// Serves until told to stop, or until a dump has come to its end: by a client that has everything, or by <see cref="Decide"/>. True unless a dump ended with its tasks running on here.
    /// </summary>
    /// <param name="stop">Serving images ends. A dump is undone, unless a client may have restored it already: then it goes on.</param>
    /// <exception cref="IOException">It could not begin; a dump was undone.</exception>
    public async Task<bool> RunAsync(CancellationToken stop)
    {
        options.Tls?.RequireUsable();
        using PagePool pool = new();
        if (options.Dump is null && options.ResumedSession is null)
        {
            await ServeImagesAsync(pool, stop).ConfigureAwait(false);
            return true;
        }

        using FrozenDump dump = await HoldAsync(stop).ConfigureAwait(false);
        CriuServeLog.Frozen(_logger, dump.Name, dump.ImageDirectory, dump.Session);
        bool isGoneElsewhere;
        try
        {
            isGoneElsewhere = await ServeDumpAsync(dump, pool, stop).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or SocketException && !dump.IsHandedOff)
        {
            await dump.ResumeAsync().ConfigureAwait(false);
            CriuServeLog.Resumed(_logger, dump.Name);
            throw e as IOException ?? new IOException(e.Message, e);
        }

        if (isGoneElsewhere)
        {
            await dump.DiscardAsync().ConfigureAwait(false);
            CriuServeLog.Discarded(_logger, dump.Name);
        }
        else
        {
            await dump.ResumeAsync().ConfigureAwait(false);
            CriuServeLog.Resumed(_logger, dump.Name);
        }

        return isGoneElsewhere;
    }

    private Task<FrozenDump> HoldAsync(CancellationToken stop)
    {
        if (options.ResumedSession is { } session)
        {
            return FrozenDump.TakeOverAsync(session, options.StateDirectory);
        }

        string images = Path.GetFullPath(options.ImagesDirectory);
        return FrozenDump.StartAsync(options.Dump!, images, Path.GetFullPath(options.WorkDirectory ?? images), options.StateDirectory, stop);
    }

    private async Task ServeImagesAsync(PagePool pool, CancellationToken stop)
    {
        string directory = Path.GetFullPath(options.ImagesDirectory);
        ImageSet images = ImageDirectory.Open(directory);
        RequirePages(images);
        OwedMemory owed = OwedMemory.From(images);
        ListedPages listed = new(owed.Ranges);
        using ImagePageSource source = new(directory);
        if (options.ClientDescriptor is { } descriptor)
        {
            await ServeInheritedAsync(descriptor, directory, owed, source, listed, pool, stop).ConfigureAwait(false);
            return;
        }

        using Socket listener = Listen(owed, directory);
        await AcceptAsync(listener, static () => null, client => Serve(client, source, listed, pool, static () => { }), stop).ConfigureAwait(false);
    }

    private async Task ServeInheritedAsync(
        int descriptor, string directory, OwedMemory owed, ImagePageSource source, ListedPages listed, PagePool pool, CancellationToken stop)
    {
        using Socket client = InheritClient(descriptor, directory, owed);
        using CancellationTokenRegistration stopping = stop.Register(() => client.Close(0));
        TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        StartSession(client, () =>
        {
            _ = Serve(client, source, listed, pool, static () => { });
            ended.SetResult();
        });
        await ended.Task.ConfigureAwait(false);
    }

    /// <summary>Returns what was decided: true when the frozen copy is to be discarded. No client is served any more then.</summary>
    private async Task<bool> ServeDumpAsync(FrozenDump dump, PagePool pool, CancellationToken stop)
    {
        OwedMemory owed = OwedMemory.From(ImageDirectory.Open(dump.ImageDirectory));
        ListedPages listed = new(owed.Ranges);
        DumpVerdict verdict = new(dump);
        _verdict = verdict;
        using CancellationTokenRegistration stopping = stop.Register(() =>
        {
            if (!verdict.TryLetRunOn() && !verdict.IsGoneElsewhere.IsCompleted)
            {
                CriuServeLog.Undecided(_logger, owed.TotalPages, dump.Name, Environment.ProcessId);
            }
        });
        if (dump.IsHandedOff)
        {
            CriuServeLog.Undecided(_logger, owed.TotalPages, dump.Name, Environment.ProcessId);
        }

        using Socket? given = options.ClientDescriptor is { } descriptor ? InheritClient(descriptor, dump.Name, owed) : null;
        using Socket? listener = given is null ? Listen(owed, dump.Name) : null;
        using CancellationTokenSource over = new();
        Task accepting = Task.CompletedTask;
        if (given is not null)
        {
            StartSession(given, () => ServeFrozen(given, dump, verdict, listed, pool));
        }
        else
        {
            accepting = AcceptAsync(listener!, () => verdict.Refusal, client => ServeFrozen(client, dump, verdict, listed, pool), over.Token);
        }

        try
        {
            Task held = dump.EndedAsync();
            if (await Task.WhenAny(verdict.IsGoneElsewhere, held).ConfigureAwait(false) == held && !verdict.IsGoneElsewhere.IsCompleted)
            {
                CriuServeLog.Problem(_logger, verdict.TryLetRunOn() ? $"CRIU, which held {dump.Name}, has ended: it runs on here, and its images are of the past" : $"CRIU, which held {dump.Name}, has ended: its cgroup alone holds it frozen now");
            }

            return await verdict.IsGoneElsewhere.ConfigureAwait(false);
        }
        finally
        {
            await over.CancelAsync().ConfigureAwait(false);
            await accepting.ConfigureAwait(false);
            EndSessions();
        }
    }

    private void ServeFrozen(Socket client, FrozenDump dump, DumpVerdict verdict, ListedPages listed, PagePool pool)
    {
        SessionEnd end = Serve(client, dump.Source, listed, pool, () => verdict.Serve(client));
        if (verdict.Left(client, hasEverything: end.Closed && (end.NeverSent == 0 || end.SaysComplete)))
        {
            CriuServeLog.Undecided(_logger, end.NeverSent, dump.Name, Environment.ProcessId);
        }
        else if (options.ClientDescriptor is not null)
        {
            // Nobody else can come, and nothing was fetched: the dump is undone.
            _ = verdict.TryLetRunOn();
        }
    }

    /// <summary>Gives each client a thread until told to stop; then none is left.</summary>
    /// <param name="listener">Where they come.</param>
    /// <param name="refusal">Says why one that has come cannot stay; null when it can.</param>
    /// <param name="serve">Serves one to its end.</param>
    /// <param name="stop">Ends it.</param>
    private async Task AcceptAsync(Socket listener, Func<string?> refusal, Action<Socket> serve, CancellationToken stop)
    {
        try
        {
            while (true)
            {
                if (await TryAcceptAsync(listener, stop).ConfigureAwait(false) is not { } client)
                {
                    await Task.Delay(AcceptPause, stop).ConfigureAwait(false);
                    continue;
                }

                if ((_sessions.Count >= options.MaxSessions ? $"{options.MaxSessions} clients are connected, as many as this server accepts" : refusal()) is { } reason)
                {
                    CriuServeLog.TurnedAway(_logger, NameOf(client), reason);
                    client.Close(0);
                    continue;
                }

                StartSession(client, () => serve(client));
            }
        }
        catch (OperationCanceledException)
        {
            EndSessions();
        }
    }

    /// <summary>Null when this host cannot take one now: it may have no descriptor left, for example.</summary>
    private async Task<Socket?> TryAcceptAsync(Socket listener, CancellationToken stop)
    {
        try
        {
            return await listener.AcceptAsync(stop).ConfigureAwait(false);
        }
        catch (SocketException e)
        {
            CriuServeLog.Problem(_logger, $"no further client can connect now: {e.Message}");
            return null;
        }
    }

    private void StartSession(Socket client, Action serve)
    {
        Thread thread = new(() =>
        {
            serve();
            _sessions.TryRemove(client, out _);
        })
        { IsBackground = true, Name = "page server session" };
        _sessions[client] = thread;
        thread.Start();
    }

    private void EndSessions()
    {
        foreach ((Socket client, Thread thread) in _sessions)
        {
            client.Close(0);
            thread.Join();
        }
    }

    /// <summary>One client from its connection to its end, which is logged.</summary>
    /// <param name="client">The client.</param>
    /// <param name="source">Has its pages.</param>
    /// <param name="listed">Which these are.</param>
    /// <param name="pool">For buffers.</param>
    /// <param name="requested">Called before each answer.</param>
    private SessionEnd Serve(Socket client, IPageSource source, ListedPages listed, PagePool pool, Action requested)
    {
        string name = NameOf(client);
        GetSession? session = null;
        // Whoever has opened the one connection knows for how long it may have nothing to say.
        using CancellationTokenSource patience = new(options.ClientDescriptor is null ? options.TimeToFirstRequest : Timeout.InfiniteTimeSpan);
        using CancellationTokenRegistration mute = patience.Token.Register(() => client.Close(0));
        try
        {
            // Not being permitted to is no error: faults then wait a little longer.
            _ = FaultPriority.TryRaise();
            CriuSocket.Tune(client);
            using Stream plain = new NetworkStream(client, ownsSocket: false);
            using Stream stream = options.Tls?.AsServer(plain) ?? plain;
            CriuServeLog.Connected(_logger, name);
            session = new GetSession(stream, source, listed);
            bool hasAsked = false;
            SessionEnd end = session.Serve(pool, () =>
            {
                if (!hasAsked)
                {
                    hasAsked = true;
                    patience.CancelAfter(Timeout.InfiniteTimeSpan);
                }

                requested();
            });
            Tell(name, end);
            client.Dispose();
            return end;
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            // The protocol has no error: a reset is the one thing that no client takes for an answer.
            client.Close(0);
            ulong neverSent = session?.NeverSent ?? listed.TotalPages;
            if (e is ClientRefusedException)
            {
                CriuServeLog.TurnedAway(_logger, name, e.Message);
            }
            else
            {
                CriuServeLog.Gone(_logger, name, patience.IsCancellationRequested ? $"it asked for nothing within {options.TimeToFirstRequest.TotalSeconds} s" : e.Message, neverSent);
            }

            return new SessionEnd(Closed: false, SaysComplete: false, neverSent);
        }
    }

    private void Tell(string name, SessionEnd end)
    {
        switch (end)
        {
            case { Closed: false }:
                CriuServeLog.Gone(_logger, name, "it closed the connection without a word", end.NeverSent);
                break;
            case { NeverSent: 0 }:
                CriuServeLog.FetchedAll(_logger, name);
                break;
            case { SaysComplete: true }:
                CriuServeLog.Complete(_logger, name, end.NeverSent);
                break;
            default:
                CriuServeLog.FetchedPartly(_logger, name, end.NeverSent);
                break;
        }
    }

    private Socket Listen(OwedMemory owed, string source)
    {
        IPAddress address = IPAddress.TryParse(options.Address, out IPAddress? parsed) ? parsed : throw new IOException($"--address {options.Address}: not an IPv4 or IPv6 address");
        Socket? listener = null;
        try
        {
            listener = new Socket(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            listener.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
            listener.Bind(new IPEndPoint(address, options.Port));
            listener.Listen(128);
        }
        catch (SocketException e)
        {
            listener?.Dispose();
            throw new IOException($"cannot listen on {options.Address} port {options.Port}: {e.Message}", e);
        }

        LocalEndPoint = (IPEndPoint)listener.LocalEndPoint!;
        CriuServeLog.Listening(_logger, LocalEndPoint.ToString(), owed.TotalPages, owed.Ranges.Count, source);
        SayReady();
        return listener;
    }

    private Socket InheritClient(int descriptor, string source, OwedMemory owed)
    {
        Socket client = CriuSocket.Inherit(descriptor, mustBeTcp: false);
        CriuServeLog.ServingDescriptor(_logger, descriptor, owed.TotalPages, owed.Ranges.Count, source);
        SayReady();
        return client;
    }

    private void SayReady()
    {
        if (options.StatusDescriptor is { } descriptor)
        {
            StatusByte.Write(descriptor);
        }
    }

    private static void RequirePages(ImageSet images)
    {
        foreach (ImageProcess process in images.Processes)
        {
            if (process.Pagemap.FirstOrDefault(static run => run.Flags == PagemapFlags.Lazy) is { Flags: PagemapFlags.Lazy } run)
            {
                throw new ImageFormatException(
                    images.Path,
                    $"a lazy dump, whose pages are still with the dumped processes (the first at {run.Range.Start:x} of process {process.Pid}): there is nothing here to serve");
            }
        }
    }

    private static string NameOf(Socket client)
    {
        try
        {
            // A socket from a pair has a peer without a name.
            return client.RemoteEndPoint?.ToString() is { Length: > 0 } name ? name : "the client";
        }
        catch (SocketException)
        {
            return "a client that is gone again";
        }
    }
}
