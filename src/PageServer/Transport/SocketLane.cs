using System.Diagnostics;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using PostCopy.Buffers;

namespace PostCopy.Transport;

/// <summary>
/// A duplex pipe over a blocking socket, encrypted or not. Reading receives and flushing sends on the calling thread, so every read and flush is
/// complete when it returns: a loop over this lane, written with await, runs on the thread that started it and never hops to another.
/// </summary>
/// <remarks>
/// One thread may read while another writes. <see cref="Abort"/> may be called from any thread and ends both. Memory comes from a
/// <see cref="PagePool"/>: what a reader sees stays where it is until it is advanced over, and may be given to the kernel.
/// </remarks>
internal sealed class SocketLane : IDuplexPipe, IDisposable
{
    /// <summary>How long last words may wait for a peer that is slow to read.</summary>
    private static readonly TimeSpan LastWordPatience = TimeSpan.FromSeconds(1);

    private readonly Socket _socket;
    private readonly Link _link;
    private readonly Reader _reader;
    private readonly Writer _writer;
    private int _aborted;

    internal SocketLane(Socket socket, PagePool pool)
    {
        _socket = socket;
        _link = new Link(socket);
        EndPoint? peer = RemoteEndPoint(socket);
        Peer = peer?.ToString() is { Length: > 0 } named ? named : "a local peer, or one that is gone";
        PeerAddress = (peer as IPEndPoint)?.Address;
        PipeOptions options = new(
            pool,
            PipeScheduler.Inline,
            PipeScheduler.Inline,
            // One thread owns both ends: it cannot wait for itself. What bounds the pipe is that it receives only when it has nothing left to parse.
            pauseWriterThreshold: 0,
            minimumSegmentSize: PagePool.BlockBytes,
            useSynchronizationContext: false);
        _reader = new Reader(_link, new Pipe(options));
        _writer = new Writer(_link, new Pipe(options));
    }

    /// <inheritdoc/>
    public PipeReader Input => _reader;

    /// <inheritdoc/>
    public PipeWriter Output => _writer;

    /// <summary>Bytes received so far, without what encryption adds; readable from any thread.</summary>
    internal ulong BytesReceived => _reader.Bytes;

    /// <summary>Bytes sent so far, without what encryption adds; readable from any thread.</summary>
    internal ulong BytesSent => _writer.Bytes;

    /// <summary>The other end, for messages.</summary>
    internal string Peer { get; }

    /// <summary>The other end's address; null when it has none, or is gone already.</summary>
    internal IPAddress? PeerAddress { get; }

    /// <summary>Over a Unix socket, within this host.</summary>
    internal bool IsLocal => _socket.AddressFamily == AddressFamily.Unix;

    /// <summary>Encrypts from here on. See <see cref="TlsChannel.Dial"/>.</summary>
    internal void DialTls(TlsDialling tls, out string? refusal) => _link.Tls = TlsChannel.Dial(_socket, tls, out refusal);

    /// <summary>Encrypts from here on. See <see cref="TlsChannel.Accept"/>.</summary>
    internal void AcceptTls(TlsAccepting tls, out string? refusal) => _link.Tls = TlsChannel.Accept(_socket, tls, out refusal);

    /// <summary>False when the peer says nothing for this long.</summary>
    internal bool WaitForFirstByte(TimeSpan patience) => _socket.Poll(patience, SelectMode.SelectRead);

    /// <summary>What has arrived and is not consumed yet; receives when that is nothing, or nothing new.</summary>
    internal ReadResult Read() => _reader.Read();

    /// <summary>Sends what was written.</summary>
    internal void Flush() => _writer.Flush();

    /// <summary>
    /// Fills <paramref name="destination"/> straight from the socket; false when the peer closes before that. For a lane that is not read from in
    /// any other way yet: it takes no block of the pool for whoever has not proved anything.
    /// </summary>
    internal bool ReceiveExactly(Span<byte> destination) => _reader.ReceiveExactly(destination);

    /// <summary>Sends one frame straight from the caller's memory, past what was written and not flushed.</summary>
    internal void Send(ReadOnlySpan<byte> frame) => _writer.Send(frame);

    /// <summary>
    /// Sends the frame that explains the end, from any thread: never in the middle of another frame, and not at all to a peer that does not read.
    /// </summary>
    internal void TrySendLast(ReadOnlySpan<byte> frame) => _writer.TrySendLast(frame);

    /// <summary>Ends the connection: reads and flushes under way on other threads return or throw at once.</summary>
    internal void Abort()
    {
        if (Interlocked.Exchange(ref _aborted, 1) != 0)
        {
            return;
        }

        try
        {
            _socket.Shutdown(SocketShutdown.Both);
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Not connected any more, or whoever owned it is done with it: as good as shut down.
        }
    }

    /// <summary>Frees socket and memory. Whoever else reads or writes must have stopped: <see cref="Abort"/>, join, then this.</summary>
    public void Dispose()
    {
        Abort();
        _link.Tls?.Dispose();
        _socket.Dispose();
        _reader.Complete();
        _writer.Complete();
    }

    private static EndPoint? RemoteEndPoint(Socket socket)
    {
        try
        {
            return socket.RemoteEndPoint;
        }
        catch (SocketException)
        {
            return null;
        }
    }

    /// <summary>Makes what was written readable at the pipe's other end. Without a threshold to wait for, it completes at once.</summary>
    private static void Commit(Pipe pipe)
    {
        ValueTask<FlushResult> flush = pipe.Writer.FlushAsync(CancellationToken.None);
        Debug.Assert(flush.IsCompleted, "the pipe has no threshold to wait for");
        flush.GetAwaiter().GetResult();
    }

    /// <summary>The connection's bytes in the clear.</summary>
    private sealed class Link(Socket socket)
    {
        internal TlsChannel? Tls { get; set; }

        internal int Receive(Span<byte> destination) => Tls is { } tls ? tls.Read(destination) : socket.Receive(destination);

        /// <summary>Sends all of it or throws: a blocking socket's wait is the lane's back-pressure.</summary>
        internal void Send(ReadOnlySpan<byte> bytes)
        {
            if (Tls is { } tls)
            {
                tls.Write(bytes);
            }
            else
            {
                socket.Send(bytes);
            }
        }

        internal bool WaitUntilWritable(TimeSpan patience) => socket.Poll(patience, SelectMode.SelectWrite);
    }

    private sealed class Reader(Link link, Pipe pipe) : PipeReader
    {
        private ulong _bytes;

        internal ulong Bytes => Interlocked.Read(ref _bytes);

        public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            return new ValueTask<ReadResult>(Read());
        }

        internal ReadResult Read()
        {
            if (!pipe.Reader.TryRead(out ReadResult result))
            {
                int received = link.Receive(pipe.Writer.GetSpan());
                if (received == 0)
                {
                    pipe.Writer.Complete();
                }
                else
                {
                    Interlocked.Add(ref _bytes, (ulong)received);
                    pipe.Writer.Advance(received);
                    Commit(pipe);
                }

                pipe.Reader.TryRead(out result);
            }

            return result;
        }

        internal bool ReceiveExactly(Span<byte> destination)
        {
            while (destination.Length > 0)
            {
                int received = link.Receive(destination);
                if (received == 0)
                {
                    return false;
                }

                Interlocked.Add(ref _bytes, (ulong)received);
                destination = destination[received..];
            }

            return true;
        }

        public override bool TryRead(out ReadResult result) => pipe.Reader.TryRead(out result);

        public override void AdvanceTo(SequencePosition consumed) => pipe.Reader.AdvanceTo(consumed);

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined) => pipe.Reader.AdvanceTo(consumed, examined);

        public override void CancelPendingRead() => pipe.Reader.CancelPendingRead();

        public override void Complete(Exception? exception = null)
        {
            pipe.Reader.Complete(exception);
            pipe.Writer.Complete(exception);
        }
    }

    private sealed class Writer(Link link, Pipe pipe) : PipeWriter
    {
        /// <summary>Held while whole frames go out.</summary>
        private readonly Lock _sending = new();
        private ulong _bytes;

        internal ulong Bytes => Interlocked.Read(ref _bytes);

        public override void Advance(int bytes) => pipe.Writer.Advance(bytes);

        public override Memory<byte> GetMemory(int sizeHint = 0) => pipe.Writer.GetMemory(sizeHint);

        public override Span<byte> GetSpan(int sizeHint = 0) => pipe.Writer.GetSpan(sizeHint);

        public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            Flush();
            return new ValueTask<FlushResult>(new FlushResult(isCanceled: false, isCompleted: false));
        }

        internal void Flush()
        {
            Commit(pipe);
            lock (_sending)
            {
                while (pipe.Reader.TryRead(out ReadResult result))
                {
                    foreach (ReadOnlyMemory<byte> segment in result.Buffer)
                    {
                        SendAll(segment.Span);
                    }

                    pipe.Reader.AdvanceTo(result.Buffer.End);
                }
            }
        }

        internal void Send(ReadOnlySpan<byte> frame)
        {
            lock (_sending)
            {
                SendAll(frame);
            }
        }

        internal void TrySendLast(ReadOnlySpan<byte> frame)
        {
            if (!_sending.TryEnter(LastWordPatience))
            {
                return;
            }

            try
            {
                if (link.WaitUntilWritable(LastWordPatience))
                {
                    SendAll(frame);
                }
            }
            catch (Exception e) when (e is SocketException or ObjectDisposedException)
            {
                // The peer is gone and will not hear it.
            }
            finally
            {
                _sending.Exit();
            }
        }

        private void SendAll(ReadOnlySpan<byte> bytes)
        {
            link.Send(bytes);
            Interlocked.Add(ref _bytes, (ulong)bytes.Length);
        }

        public override void CancelPendingFlush() => pipe.Writer.CancelPendingFlush();

        public override void Complete(Exception? exception = null)
        {
            pipe.Writer.Complete(exception);
            pipe.Reader.Complete(exception);
        }
    }
}
