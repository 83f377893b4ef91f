using System.Net;
using System.Net.Sockets;
using PostCopy.Buffers;
using PostCopy.CriuServe;
using PostCopy.CriuWire;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.Tests.Faults;

namespace PostCopy.Tests.DropIn;

/// <summary>A server for one connection on loopback that does what a test says.</summary>
internal sealed class ScriptedServer : IDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly Thread _thread;

    public ScriptedServer(Action<NetworkStream> script)
    {
        _listener.Start();
        _thread = new Thread(() =>
        {
            try
            {
                using NetworkStream stream = new(_listener.AcceptSocket(), ownsSocket: true);
                script(stream);
            }
            catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException)
            {
                Error = e;
            }
        })
        { IsBackground = true, Name = "scripted server" };
        _thread.Start();
    }

    /// <summary>How the connection failed, after <see cref="Dispose"/> or the script's end.</summary>
    public Exception? Error { get; private set; }

    public IPEndPoint EndPoint => (IPEndPoint)_listener.LocalEndpoint;

    public CriuPageConnection Connect(int headerBytes) =>
        CriuPageConnection.Connect([EndPoint], headerBytes == 24 ? CriuFrameFormat.UpTo41 : CriuFrameFormat.Since42, secure: null);

    public void Dispose()
    {
        _listener.Stop();
        Assert.True(_thread.Join(TimeSpan.FromSeconds(30)), "the scripted server hangs");
    }
}

/// <summary>How a session of ours ended, as seen by the server.</summary>
internal readonly record struct SessionOutcome(bool Closed, bool SaysComplete, ulong NeverSent);

/// <summary>Our own page server, for one client, with the pattern that the faulting program expects.</summary>
internal sealed class PatternServer : IDisposable
{
    private readonly TaskCompletionSource<SessionOutcome> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly PagePool _pool = new();
    private readonly ScriptedServer _server;
    private int _requests;

    public PatternServer(ulong start, ImagePid pid, IReadOnlyList<PageRange> owed) => _server = new ScriptedServer(stream =>
    {
        try
        {
            SessionEnd end = new GetSession(stream, new PatternSource(start), new ListedPages([new(pid, owed)])).Serve(_pool, () => _requests++);
            _ended.SetResult(new SessionOutcome(end.Closed, end.SaysComplete, end.NeverSent));
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            // As the real server does: no client takes a reset for an answer.
            stream.Socket.Close(0);
            _ended.SetException(e);
        }
    });

    /// <summary>How many were found good, once <see cref="Ended"/>.</summary>
    public int Requests => _requests;

    public Task<SessionOutcome> Ended => _ended.Task;

    public IPEndPoint EndPoint => _server.EndPoint;

    public CriuPageConnection Connect(int headerBytes) => _server.Connect(headerBytes);

    public void Dispose()
    {
        _server.Dispose();
        _pool.Dispose();
    }

    private sealed class PatternSource(ulong start) : IPageSource
    {
        public int Read(ImagePid addressSpace, ulong address, Span<byte> destination)
        {
            Pattern.Fill(start, new PageRange(address, (ulong)destination.Length >> PageSize.Shift), destination);
            return destination.Length;
        }
    }
}
