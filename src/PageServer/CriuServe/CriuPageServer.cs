using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Mono.Unix.Native;
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
public sealed class CriuPageServer(CriuPageServerOptions options, ILogger<CriuPageServer> logger)
{
    private readonly ConcurrentDictionary<Socket, Thread> _sessions = new();

    /// <summary>The address it listens on; null before <see cref="RunAsync"/> has come so far.</summary>
    public IPEndPoint? LocalEndPoint { get; private set; }

    /// <summary>
    /// Serves until told to stop, or until a dump has come to its end. True unless a dump ended with its tasks running on here.
    /// </summary>
    /// <param name="stop">Serving images ends. A dump is undone, unless a client may have restored it already: then it goes on.</param>
    /// <exception cref="IOException">It could not begin; a dump was undone.</exception>
    public async Task<bool> RunAsync(CancellationToken stop)
    {
        using PagePool pool = new();
        if (options.Dump is null && options.ResumedSession is null)
        {
            await ServeImagesAsync(pool, stop).ConfigureAwait(false);
            return true;
        }

        using FrozenDump dump = await HoldAsync(stop).ConfigureAwait(false);
        CriuServeLog.Frozen(logger, dump.Name, dump.ImageDirectory, dump.Session);
        try
        {
            return await ServeDumpAsync(dump, dump.ImageDirectory, pool, stop).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or SocketException && !dump.IsHandedOff)
        {
            await dump.ResumeAsync().ConfigureAwait(false);
            CriuServeLog.Resumed(logger, dump.Name);
            throw e as IOException ?? new IOException(e.Message, e);
        }
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
        try
        {
            while (true)
            {
                Socket client = await listener.AcceptAsync(stop).ConfigureAwait(false);
                if (_sessions.Count >= options.MaxSessions)
                {
                    CriuServeLog.TurnedAway(logger, NameOf(client), $"{options.MaxSessions} clients are connected, as many as this server accepts");
                    client.Close(0);
                    continue;
                }

                Thread thread = new(() => ServeAndForget(client, source, listed, pool)) { IsBackground = true, Name = "page server session" };
                _sessions[client] = thread;
                thread.Start();
            }
        }
        catch (OperationCanceledException)
        {
            foreach ((Socket client, Thread thread) in _sessions)
            {
                client.Close(0);
                thread.Join();
            }
        }
    }

    private async Task ServeInheritedAsync(
        int descriptor, string directory, OwedMemory owed, ImagePageSource source, ListedPages listed, PagePool pool, CancellationToken stop)
    {
        using Socket client = InheritClient(descriptor, directory, owed);
        using CancellationTokenRegistration stopping = stop.Register(() => client.Close(0));
        TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Thread thread = new(() =>
        {
            _ = Serve(client, source, listed, pool, static () => { });
            ended.SetResult();
        })
        { IsBackground = true, Name = "page server session" };
        thread.Start();
        await ended.Task.ConfigureAwait(false);
    }

    private void ServeAndForget(Socket client, IPageSource source, ListedPages listed, PagePool pool)
    {
        _ = Serve(client, source, listed, pool, static () => { });
        _sessions.TryRemove(client, out _);
    }

    private async Task<bool> ServeDumpAsync(FrozenDump dump, string imageDirectory, PagePool pool, CancellationToken stop)
    {
        OwedMemory owed = OwedMemory.From(ImageDirectory.Open(imageDirectory));
        ListedPages listed = new(owed.Ranges);
        TaskCompletionSource<bool> decided = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using PosixSignalRegistration discard = OnSignal(Signum.SIGUSR1, () => decided.TrySetResult(true));
        using PosixSignalRegistration resume = OnSignal(Signum.SIGUSR2, () => decided.TrySetResult(false));
        using CancellationTokenRegistration stopping = stop.Register(() =>
        {
            if (!dump.IsHandedOff)
            {
                decided.TrySetResult(false);
            }
            else
            {
                CriuServeLog.Undecided(logger, owed.TotalPages, dump.Name, Environment.ProcessId);
            }
        });
        if (dump.IsHandedOff)
        {
            CriuServeLog.Undecided(logger, owed.TotalPages, dump.Name, Environment.ProcessId);
        }

        using Socket? given = options.ClientDescriptor is { } descriptor ? InheritClient(descriptor, dump.Name, owed) : null;
        using Socket? listener = given is null ? Listen(owed, dump.Name) : null;
        Socket? current = given;
        Thread sessions = new(() =>
        {
            if (given is not null)
            {
                ServeFrozen(given, dump, listed, pool, decided);
            }
            else
            {
                ServeOneByOne(listener!, dump, listed, pool, decided, client => current = client);
            }
        })
        { IsBackground = true, Name = "page server session" };
        sessions.Start();
        bool goneElsewhere = await decided.Task.ConfigureAwait(false);
        listener?.Close(0);
        current?.Close(0);
        sessions.Join();
        if (goneElsewhere)
        {
            await dump.DiscardAsync().ConfigureAwait(false);
            CriuServeLog.Discarded(logger, dump.Name);
        }
        else
        {
            await dump.ResumeAsync().ConfigureAwait(false);
            CriuServeLog.Resumed(logger, dump.Name);
        }

        return goneElsewhere;
    }

    /// <summary>A frozen copy can become one running copy, so it has one client at a time.</summary>
    private void ServeOneByOne(Socket listener, FrozenDump dump, ListedPages listed, PagePool pool, TaskCompletionSource<bool> decided, Action<Socket> serving)
    {
        while (!decided.Task.IsCompleted)
        {
            Socket client;
            try
            {
                client = listener.Accept();
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                if (!decided.Task.IsCompleted)
                {
                    CriuServeLog.Problem(logger, $"no further client can connect: {e.Message}");
                }

                return;
            }

            serving(client);
            ServeFrozen(client, dump, listed, pool, decided);
        }
    }

    private void ServeFrozen(Socket client, FrozenDump dump, ListedPages listed, PagePool pool, TaskCompletionSource<bool> decided)
    {
        SessionEnd end = Serve(client, dump.Source, listed, pool, dump.HandOff);
        if (end.Closed && (end.NeverSent == 0 || end.SaysComplete))
        {
            decided.TrySetResult(true);
        }
        else if (dump.IsHandedOff && !decided.Task.IsCompleted)
        {
            CriuServeLog.Undecided(logger, end.NeverSent, dump.Name, Environment.ProcessId);
        }
        else if (options.ClientDescriptor is not null)
        {
            // Nobody else can come, and nothing was fetched: the dump is undone.
            decided.TrySetResult(false);
        }
    }

    /// <summary>One client from its connection to its end, which is logged.</summary>
    private SessionEnd Serve(Socket client, IPageSource source, ListedPages listed, PagePool pool, Action requested)
    {
        string name = NameOf(client);
        GetSession? session = null;
        try
        {
            // Not being permitted to is no error: faults then wait a little longer.
            _ = FaultPriority.TryRaise();
            CriuSocket.Tune(client);
            using Stream plain = new NetworkStream(client, ownsSocket: false);
            using Stream stream = options.Tls?.AsServer(plain) ?? plain;
            CriuServeLog.Connected(logger, name);
            session = new GetSession(stream, source, listed);
            SessionEnd end = session.Serve(pool, requested);
            Tell(name, end);
            client.Dispose();
            return end;
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
        {
            // The protocol has no error: a reset is the one thing that no client takes for an answer.
            client.Close(0);
            ulong neverSent = session?.NeverSent ?? 0;
            CriuServeLog.Gone(logger, name, e.Message, neverSent);
            return new SessionEnd(Closed: false, SaysComplete: false, neverSent);
        }
    }

    private void Tell(string name, SessionEnd end)
    {
        switch (end)
        {
            case { Closed: false }:
                CriuServeLog.Gone(logger, name, "it closed the connection without a word", end.NeverSent);
                break;
            case { NeverSent: 0 }:
                CriuServeLog.FetchedAll(logger, name);
                break;
            case { SaysComplete: true }:
                CriuServeLog.Complete(logger, name, end.NeverSent);
                break;
            default:
                CriuServeLog.FetchedPartly(logger, name, end.NeverSent);
                break;
        }
    }

    private Socket Listen(OwedMemory owed, string source)
    {
        IPAddress address = IPAddress.TryParse(options.Address, out IPAddress? parsed) ? parsed : throw new IOException($"--address {options.Address}: not an IPv4 or IPv6 address");
        Socket listener = new(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            listener.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.ReuseAddress, true);
            listener.Bind(new IPEndPoint(address, options.Port));
            listener.Listen(128);
        }
        catch (SocketException e)
        {
            listener.Dispose();
            throw new IOException($"cannot listen on {options.Address} port {options.Port}: {e.Message}", e);
        }

        LocalEndPoint = (IPEndPoint)listener.LocalEndPoint!;
        CriuServeLog.Listening(logger, LocalEndPoint.ToString(), owed.TotalPages, owed.Ranges.Count, source);
        SayReady();
        return listener;
    }

    private Socket InheritClient(int descriptor, string source, OwedMemory owed)
    {
        Socket client = CriuSocket.Inherit(descriptor, mustBeTcp: false);
        CriuServeLog.ServingDescriptor(logger, descriptor, owed.TotalPages, owed.Ranges.Count, source);
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

    private static PosixSignalRegistration OnSignal(Signum signal, Action decide) => PosixSignalRegistration.Create((PosixSignal)(int)signal, context =>
    {
        context.Cancel = true;
        decide();
    });
}
