using System.Net.Sockets;

namespace PostCopy.Transport;

/// <summary>
/// The socket below an SslStream, which sends and receives every record of 16 KiB by itself: here many travel together, which is most of what a push over TLS
/// gains. One thread may read while another writes.
/// </summary>
/// <remarks>Until <see cref="Gather"/> everything goes straight through: a stranger costs no buffer.</remarks>
internal sealed class TlsSocketStream(Socket socket) : Stream
{
    /// <summary>Sixteen records: enough that the kernel sends its largest segments.</summary>
    private const int BufferBytes = 256 << 10;

    private byte[]? _received;
    private int _start;
    private int _end;
    private byte[]? _unsent;
    private int _unsentBytes;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>From here on what is written waits for <see cref="Flush"/>, or for as much as one send may take.</summary>
    internal void Gather()
    {
        _received = GC.AllocateUninitializedArray<byte>(BufferBytes, pinned: true);
        _unsent = GC.AllocateUninitializedArray<byte>(BufferBytes, pinned: true);
    }

    public override int Read(Span<byte> buffer)
    {
        if (_received is not { } received)
        {
            return Receive(buffer);
        }

        if (_start == _end)
        {
            (_start, _end) = (0, Receive(received));
        }

        int count = Math.Min(buffer.Length, _end - _start);
        received.AsSpan(_start, count).CopyTo(buffer);
        _start += count;
        return count;
    }

    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        if (_unsent is not { } unsent)
        {
            Send(buffer);
            return;
        }

        if (_unsentBytes + buffer.Length > unsent.Length)
        {
            Flush();
        }

        if (buffer.Length > unsent.Length)
        {
            Send(buffer);
            return;
        }

        buffer.CopyTo(unsent.AsSpan(_unsentBytes));
        _unsentBytes += buffer.Length;
    }

    public override void Write(byte[] buffer, int offset, int count) => Write(buffer.AsSpan(offset, count));

    public override void Flush()
    {
        if (_unsentBytes > 0)
        {
            int bytes = _unsentBytes;
            _unsentBytes = 0;
            Send(_unsent.AsSpan(0, bytes));
        }
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    /// <summary>As <see cref="Stream"/> has it: a socket's failure is the inner exception.</summary>
    private int Receive(Span<byte> buffer)
    {
        try
        {
            return socket.Receive(buffer);
        }
        catch (SocketException e)
        {
            throw new IOException(e.Message, e);
        }
    }

    private void Send(ReadOnlySpan<byte> bytes)
    {
        try
        {
            while (bytes.Length > 0)
            {
                bytes = bytes[socket.Send(bytes)..];
            }
        }
        catch (SocketException e)
        {
            throw new IOException(e.Message, e);
        }
    }
}
