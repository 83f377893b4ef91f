using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Threading.Channels;
using Google.Protobuf;
using PostCopy.Linux;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Control;

/// <summary>
/// The control lane as messages. A thread of its own receives; anybody may send. Heartbeats keep it alive and compare the two clocks.
/// </summary>
/// <remarks>
/// Messages wait in a bounded queue: when nobody takes them, the receiving thread waits and the peer's sends do; that is not the peer's silence.
/// The channel ends once, for the first reason that came up; every later receive reports that reason.
/// </remarks>
internal sealed class ControlChannel : IDisposable
{
    private const int QueuedMessages = 32;

    /// <summary>In <see cref="_waitingSince"/>: the receiving thread is not waiting for the peer.</summary>
    private const long Busy = long.MaxValue;

    private static readonly TimeSpan DefaultHeartbeatEvery = TimeSpan.FromSeconds(1);

    /// <summary>Silence after which the peer counts as gone: ten heartbeats lost, or a host that stands still for as long.</summary>
    private static readonly TimeSpan DefaultSilenceLimit = TimeSpan.FromSeconds(20);

    /// <summary>How long a peer may take to close its side after our goodbye. Closing at once could reset the connection and lose what it has not read.</summary>
    private static readonly TimeSpan GoodbyePatience = TimeSpan.FromSeconds(1);

    private readonly SocketLane _lane;
    private readonly Lock _sending = new();
    private readonly Channel<ControlMessage> _received = Channel.CreateBounded<ControlMessage>(new BoundedChannelOptions(QueuedMessages) { SingleReader = true, SingleWriter = true });
    private readonly Timer _heartbeat;
    private readonly Thread _receiver;
    private readonly TimeSpan _silenceLimit;
    private long _waitingSince = Environment.TickCount64;
    private string? _endedBecause;
    private bool _saidGoodbye;

    internal ControlChannel(SocketLane lane, string name, TimeSpan? heartbeatEvery = null, TimeSpan? silenceLimit = null, ClockOffset? clock = null)
    {
        _lane = lane;
        Clock = clock ?? new ClockOffset();
        _silenceLimit = silenceLimit ?? DefaultSilenceLimit;
        // Complete before anything can end it: the peer may be gone already.
        _heartbeat = new Timer(static state => ((ControlChannel)state!).Beat(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        _receiver = new Thread(ReceiveLoop) { IsBackground = true, Name = $"{name} control" };
        _receiver.Start();
        // The first one now and for certain: however short the session, the two clocks are compared.
        Beat(isFirst: true);
        TimeSpan every = heartbeatEvery ?? DefaultHeartbeatEvery;
        _heartbeat.Change(every, every);
    }

    /// <summary>The difference between the peer's clock and ours.</summary>
    internal ClockOffset Clock { get; }

    /// <summary>True when the peer ended the channel in good order: it wants nothing more of this session.</summary>
    internal bool PeerSaidGoodbye { get; private set; }

    /// <summary>The lane below, for its byte counters.</summary>
    internal SocketLane Lane => _lane;

    /// <summary>Sends one message. Throws <see cref="ControlEndedException"/> when the lane has ended.</summary>
    internal void Send(FrameKind kind, IMessage? body = null)
    {
        int bytes = body?.CalculateSize() ?? 0;
        if (bytes > ProtocolLimits.MaxControlPayloadBytes)
        {
            throw new ArgumentException($"a {kind} message of {bytes} bytes is beyond the protocol's limit of {ProtocolLimits.MaxControlPayloadBytes}", nameof(body));
        }

        Write(kind, [], body);
    }

    /// <summary>The next message of the peer. Throws <see cref="ControlEndedException"/> when none will come any more.</summary>
    internal async ValueTask<ControlMessage> ReceiveAsync(CancellationToken cancellation)
    {
        try
        {
            return await _received.Reader.ReadAsync(cancellation).ConfigureAwait(false);
        }
        catch (ChannelClosedException)
        {
            throw new ControlEndedException(_endedBecause!);
        }
    }

    /// <summary>The next message, which must be a <typeparamref name="T"/>.</summary>
    internal async ValueTask<T> ReceiveAsync<T>(CancellationToken cancellation)
        where T : class, IMessage => (await ReceiveAsync(cancellation).ConfigureAwait(false)).As<T>();

    /// <summary>Says goodbye: nothing more will be sent. What was sent before is not lost; <see cref="Dispose"/> waits until the peer has it.</summary>
    internal void Close()
    {
        try
        {
            Write(FrameKind.Goodbye, []);
            _saidGoodbye = true;
        }
        catch (ControlEndedException)
        {
            // The peer said it first.
        }
    }

    /// <summary>Ends the channel at once, from any thread: sends and receives under way end, and those to come, with this reason.</summary>
    internal void Abort(string reason) => End(reason);

    /// <summary>Tells the peer what it did wrong, once, and closes.</summary>
    internal void Reject(ProtocolException reason) => End(reason.Message, reason);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_saidGoodbye)
        {
            _receiver.Join(GoodbyePatience);
        }

        End("closed on this side");
        _receiver.Join();
        lock (_sending)
        {
            // A heartbeat may be under way; the memory that it writes to must not go to somebody else meanwhile.
            _lane.Dispose();
        }
    }

    private void Write(FrameKind kind, ReadOnlySpan<byte> payload, IMessage? body = null)
    {
        try
        {
            lock (_sending)
            {
                FrameWriter.WriteHeader(_lane.Output, kind, 0, body?.CalculateSize() ?? payload.Length);
                _lane.Output.Write(payload);
                body?.WriteTo(_lane.Output);
                _lane.Flush();
            }
        }
        catch (Exception e)
        {
            // A timer and a bare thread come by here: whatever it is, it ends this channel and nothing else.
            End(e.Message);
            throw new ControlEndedException(_endedBecause!);
        }
    }

    private void End(string reason, ProtocolException? lastWord = null)
    {
        if (Interlocked.CompareExchange(ref _endedBecause, reason, null) is not null)
        {
            return;
        }

        _heartbeat.Dispose();
        if (lastWord is not null)
        {
            LaneOpening.Refuse(_lane, lastWord);
        }

        _lane.Abort();
        _received.Writer.TryComplete();
    }

    private void Beat(bool isFirst = false)
    {
        long waitingSince = Interlocked.Read(ref _waitingSince);
        if (waitingSince != Busy && Environment.TickCount64 - waitingSince > _silenceLimit.TotalMilliseconds)
        {
            End($"nothing was heard from the peer for {_silenceLimit.TotalSeconds} s");
            return;
        }

        // Whatever is being sent at this moment proves as much as a heartbeat, and may take longer than a timer's thread should wait.
        if (isFirst)
        {
            _sending.Enter();
        }
        else if (!_sending.TryEnter())
        {
            return;
        }

        Span<byte> now = stackalloc byte[ProtocolLimits.HeartbeatBytes];
        BinaryPrimitives.WriteInt64LittleEndian(now, WallClock.NowUs);
        try
        {
            Write(FrameKind.Heartbeat, now);
        }
        catch (ControlEndedException)
        {
            // Whoever sends or receives next is told why.
        }
        finally
        {
            _sending.Exit();
        }
    }

    private void ReceiveLoop()
    {
        try
        {
            while (true)
            {
                Interlocked.Exchange(ref _waitingSince, Environment.TickCount64);
                ReadResult read = _lane.Read();
                Interlocked.Exchange(ref _waitingSince, Busy);
                ReadOnlySequence<byte> buffer = read.Buffer;
                while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
                {
                    if (header.Kind == FrameKind.Goodbye)
                    {
                        PeerSaidGoodbye = true;
                        End("the peer closed the session");
                        return;
                    }

                    Handle(header.Kind, payload);
                }

                _lane.Input.AdvanceTo(buffer.Start, buffer.End);
                if (read.IsCompleted)
                {
                    End("the peer closed the connection");
                    return;
                }
            }
        }
        catch (ProtocolException e)
        {
            Reject(e);
        }
        catch (Exception e)
        {
            // Of no memory for a block, for example: nobody is above this thread.
            End(e.Message);
        }
    }

    private void Handle(FrameKind kind, in ReadOnlySequence<byte> payload)
    {
        switch (kind)
        {
            case FrameKind.Error:
                throw new ControlEndedException(FrameWriter.ParseError(payload).Message);
            case FrameKind.Heartbeat:
                Answer(payload);
                break;
            case FrameKind.HeartbeatAck:
                Compare(payload);
                break;
            default:
                // A full queue holds this thread, and through TCP the peer.
                _received.Writer.WriteAsync(ControlMessage.Parse(kind, payload)).AsTask().GetAwaiter().GetResult();
                break;
        }
    }

    private void Answer(in ReadOnlySequence<byte> payload)
    {
        RequireLength("heartbeat", payload, ProtocolLimits.HeartbeatBytes);
        Span<byte> answer = stackalloc byte[2 * ProtocolLimits.HeartbeatBytes];
        payload.CopyTo(answer);
        BinaryPrimitives.WriteInt64LittleEndian(answer[8..], WallClock.NowUs);
        Write(FrameKind.HeartbeatAck, answer);
    }

    private void Compare(in ReadOnlySequence<byte> payload)
    {
        long now = WallClock.NowUs;
        RequireLength("heartbeat acknowledgement", payload, 2 * ProtocolLimits.HeartbeatBytes);
        Span<byte> times = stackalloc byte[2 * ProtocolLimits.HeartbeatBytes];
        payload.CopyTo(times);
        Clock.Observe(BinaryPrimitives.ReadInt64LittleEndian(times), BinaryPrimitives.ReadInt64LittleEndian(times[8..]), now);
    }

    private static void RequireLength(string frame, in ReadOnlySequence<byte> payload, int bytes)
    {
        if (payload.Length != bytes)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"{frame}: length {payload.Length} is not {bytes}");
        }
    }
}

/// <summary>The control lane has ended; the message says why.</summary>
internal sealed class ControlEndedException(string reason) : IOException(reason);
