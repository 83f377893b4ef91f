using System.Buffers.Binary;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using PostCopy.Memory;
using PostCopy.Transport;

namespace PostCopy.CriuWire;

/// <summary>The client's end of a connection to a CRIU page server: asks for pages, in order come the answers.</summary>
/// <remarks>
/// <para>
/// To <c>criu dump --lazy-pages</c> a FIN means that the destination has everything: it kills the frozen tasks. So the socket lingers for no time
/// at all (SO_LINGER 0, socket(7)): however it is closed, by us or by the kernel after a crash or SIGKILL, the peer gets a RST and the tasks
/// resume. Only <see cref="SendClose"/> lifts that, and from then on the connection is never reset: the tasks here run, those there must not.
/// </para>
/// <para>One thread may send while another receives. <see cref="Abort"/> may be called from any thread and ends both.</para>
/// </remarks>
internal sealed class CriuPageConnection : IDisposable
{
    private readonly Socket _socket;
    private readonly Stream _stream;
    private readonly byte[] _sent = new byte[CriuFrameFormat.MaxBytes];
    private readonly byte[] _received = new byte[CriuFrameFormat.MaxBytes];
    private volatile bool _closing;

    private CriuPageConnection(Socket socket, Stream stream, CriuFrameFormat format)
    {
        _socket = socket;
        _stream = stream;
        Format = format;
    }

    internal CriuFrameFormat Format { get; }

    /// <summary>Connects to the first address that answers. Throws <see cref="SocketException"/> when none does.</summary>
    /// <param name="endpoints">Addresses, in the order to try them.</param>
    /// <param name="format">What the server speaks.</param>
    /// <param name="secure">Wraps the connection in TLS; null for none.</param>
    internal static CriuPageConnection Connect(IReadOnlyList<EndPoint> endpoints, CriuFrameFormat format, Func<Stream, Stream>? secure)
    {
        SocketException? last = null;
        foreach (EndPoint endpoint in endpoints)
        {
            Socket socket = LaneSocket.Create(endpoint);
            // Connected for not an instant without it.
            socket.LingerState = new LingerOption(true, 0);
            try
            {
                socket.Connect(endpoint);
            }
            catch (SocketException e)
            {
                socket.Close(0);
                last = e;
                continue;
            }

            return Over(socket, format, secure);
        }

        throw last ?? new SocketException((int)SocketError.HostNotFound);
    }

    /// <summary>Over a connected TCP socket, which becomes this connection's.</summary>
    internal static CriuPageConnection Over(Socket socket, CriuFrameFormat format, Func<Stream, Stream>? secure)
    {
        try
        {
            socket.LingerState = new LingerOption(true, 0);
            CriuSocket.Tune(socket);
            Stream stream = new NetworkStream(socket, ownsSocket: false);
            return new CriuPageConnection(socket, secure is null ? stream : secure(stream), format);
        }
        catch
        {
            socket.Close(0);
            throw;
        }
    }

    /// <summary>Sends one request. The caller bounds what is unanswered, so that this never waits for a peer that waits for us.</summary>
    internal void SendGet(ImagePid pid, PageRange range) => Send(CriuFrame.GetPages(pid, range));

    /// <summary>
    /// Everything is where it belongs: from here on a FIN is the truth. Send this only when no answer is outstanding: a connection closed with
    /// unread bytes is reset, and then both sides' tasks would run.
    /// </summary>
    internal void SendClose()
    {
        _closing = true;
        _socket.LingerState = new LingerOption(false, 0);
        Send(CriuFrame.CloseComplete);
        if (_stream is NetworkStream)
        {
            // The FIN goes with the close: the server commits without a further word from us.
            _socket.Shutdown(SocketShutdown.Send);
        }
    }

    /// <summary>Behind the status: waits until the server has closed, which it does when it has seen our end.</summary>
    internal void AwaitEnd()
    {
        if (_stream is SslStream secure)
        {
            secure.ShutdownAsync().GetAwaiter().GetResult();
            _socket.Shutdown(SocketShutdown.Send);
        }

        while (_socket.Receive(_received) > 0)
        {
        }
    }

    /// <summary>Receives the next four bytes: the status that answers a close, or the beginning of a header.</summary>
    internal int ReceiveWord()
    {
        _stream.ReadExactly(_received.AsSpan(0, sizeof(int)));
        return BinaryPrimitives.ReadInt32LittleEndian(_received);
    }

    /// <summary>Receives the rest of the header behind <see cref="ReceiveWord"/> and checks that it answers this request; returns how many pages follow.</summary>
    internal int ReceiveAnswer(ImagePid pid, PageRange asked)
    {
        _stream.ReadExactly(_received.AsSpan(sizeof(int), Format.Bytes - sizeof(int)));
        CriuFrame answer = Format.Read(_received);
        if (answer.Command != CriuFrameCommand.PagesFollow || answer.Address != asked.Start || answer.Id != (ulong)pid.Value)
        {
            throw new CriuProtocolException(
                $"page server: the answer to GET {asked} of process {pid} has command {answer.Command:x}, address {answer.Address:x} and id {answer.Id}; if its CRIU has another header size, name it with --header-size");
        }

        return answer.PageCount > 0 && answer.PageCount <= asked.PageCount
            ? (int)answer.PageCount
            : throw new CriuProtocolException($"page server: nr_pages {answer.PageCount} in the answer to GET {asked} of process {pid}, not between 1 and {asked.PageCount}");
    }

    /// <summary>Receives page bytes until the span is full.</summary>
    internal void ReceivePages(Span<byte> pages) => _stream.ReadExactly(pages);

    /// <summary>Resets the connection, unless it was closed: a dump's tasks resume.</summary>
    internal void Abort()
    {
        if (!_closing)
        {
            _socket.Close(0);
        }
    }

    /// <summary>Resets or closes the connection: see <see cref="Abort"/>.</summary>
    public void Dispose()
    {
        Abort();
        _stream.Dispose();
        _socket.Dispose();
    }

    private void Send(in CriuFrame frame)
    {
        Format.Write(_sent, frame);
        _stream.Write(_sent, 0, Format.Bytes);
    }
}
