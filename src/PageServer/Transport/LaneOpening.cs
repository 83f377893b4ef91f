using System.Buffers;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using PostCopy.Buffers;
using PostCopy.Memory;
using PostCopy.Wire;

namespace PostCopy.Transport;

/// <summary>
/// Opens lanes: Welcome, Hello, HelloAck (PROTOCOL.md, "Opening a lane"). Both sides prove that they know the token before anything else is said.
/// Everything blocks on the calling thread, bounded by a deadline. Until then a peer costs no memory but one small frame.
/// </summary>
internal static class LaneOpening
{
    private static readonly TimeSpan DefaultDeadline = TimeSpan.FromSeconds(10);

    /// <summary>A peer that speaks TLS does so at once; this leaves time for a lost packet to be sent again.</summary>
    private static readonly TimeSpan TlsPatience = TimeSpan.FromSeconds(3);

    private static readonly byte[] DiallerLabel = "postcopy dialler"u8.ToArray();
    private static readonly byte[] ListenerLabel = "postcopy listener"u8.ToArray();

    /// <summary>
    /// Connects and opens a lane. Throws <see cref="SocketException"/> when nobody answers, <see cref="ProtocolException"/> when the peer refuses or
    /// is no agent of this version that knows the token.
    /// </summary>
    internal static SocketLane Dial(EndPoint[] endpoints, LaneRole role, SessionToken session, uint epoch, AgentToken token, PagePool pool, string? congestionControl = null, TimeSpan? deadline = null, TlsDialling? tls = null)
    {
        Socket socket = Connect(endpoints);
        SocketLane lane = new(socket, pool);
        try
        {
            using Timer limit = AbortAfter(deadline, lane);
            LaneSocket.Tune(socket, role, congestionControl);
            if (tls is not null)
            {
                DialTls(lane, tls);
            }

            Welcome welcome = Welcome.Parse(Receive(lane, FrameKind.Welcome));
            if (welcome.OldestVersion > ProtocolLimits.Version || welcome.NewestVersion < ProtocolLimits.Version)
            {
                throw new ProtocolException(
                    WireErrorCode.Version,
                    $"the agent speaks protocol versions {welcome.OldestVersion} to {welcome.NewestVersion}, this side version {ProtocolLimits.Version}: bring both hosts to one release");
            }

            byte[] nonce = RandomNumberGenerator.GetBytes(LaneHello.NonceBytes);
            byte[] serverNonce = welcome.Nonce.ToArray();
            LaneHello hello = new(ProtocolLimits.Version, role, (uint)PageSize.Bytes, epoch, session, nonce, new byte[LaneHello.MacBytes]);
            byte[] signed = hello.ToPayload()[..LaneHello.SignedBytes];
            hello = hello with { Mac = token.Sign(DiallerLabel, serverNonce, signed) };
            Send(lane, FrameKind.Hello, hello.ToPayload());
            if (!CryptographicOperations.FixedTimeEquals(Receive(lane, FrameKind.HelloAck), token.Sign(ListenerLabel, serverNonce, signed)))
            {
                throw new ProtocolException(WireErrorCode.Unauthorized, "whoever answers there does not know this host's token");
            }

            return lane;
        }
        catch
        {
            lane.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Greets whoever connected, and returns what they want once they proved that they know the token. The lane is not acknowledged yet:
    /// <see cref="Acknowledge"/> or <see cref="Refuse"/> comes next.
    /// </summary>
    internal static (LaneHello Hello, byte[] Proof) Accept(SocketLane lane, AgentToken token, TimeSpan? deadline = null, TlsAccepting? tls = null)
    {
        using Timer limit = AbortAfter(deadline, lane);
        if (tls is not null)
        {
            AcceptTls(lane, tls);
        }

        byte[] nonce = RandomNumberGenerator.GetBytes(LaneHello.NonceBytes);
        Send(lane, FrameKind.Welcome, new Welcome(ProtocolLimits.Version, ProtocolLimits.Version, nonce).ToPayload());
        byte[] payload = Receive(lane, FrameKind.Hello);
        LaneHello hello = LaneHello.Parse(payload);
        byte[] signed = payload[..LaneHello.SignedBytes];
        if (!CryptographicOperations.FixedTimeEquals(hello.Mac.Span, token.Sign(DiallerLabel, nonce, signed)))
        {
            throw new ProtocolException(WireErrorCode.Unauthorized, "the token is not the one this agent knows: copy the agent's token file to the source (mode 0600)");
        }

        if (hello.PageSizeBytes != (uint)PageSize.Bytes)
        {
            throw new ProtocolException(WireErrorCode.PageSize, $"the source's pages have {hello.PageSizeBytes} bytes, this host's {PageSize.Bytes}: a container cannot move between them");
        }

        return (hello, token.Sign(ListenerLabel, nonce, signed));
    }

    /// <summary>Completes the opening: from here on the lane is the session's.</summary>
    internal static void Acknowledge(SocketLane lane, byte[] proof) => Send(lane, FrameKind.HelloAck, proof);

    /// <summary>
    /// Tells the peer why, and ends the connection. Any thread may do it; the memory stays, because others may be using it: whoever owns the lane
    /// disposes of it when they have stopped.
    /// </summary>
    internal static void Refuse(SocketLane lane, ProtocolException reason)
    {
        if (!reason.SaidByPeer)
        {
            ArrayBufferWriter<byte> frame = new(FrameHeader.Bytes + ProtocolLimits.MaxOpeningPayloadBytes);
            FrameWriter.WriteError(frame, reason.Code, reason.Message);
            lane.TrySendLast(frame.WrittenSpan);
        }

        lane.Abort();
    }

    private static void DialTls(SocketLane lane, TlsDialling tls)
    {
        lane.DialTls(tls, out string? refusal);
        if (refusal is not null)
        {
            ProtocolException reason = new(WireErrorCode.Unauthorized, refusal);
            try
            {
                // Its first word is heard and forgotten: closing with that unread would reset the connection, and our explanation be lost.
                Receive(lane, FrameKind.Welcome);
            }
            catch (Exception e) when (e is ProtocolException or SocketException)
            {
                // Refused it is all the same.
            }

            Refuse(lane, reason);
            throw reason;
        }
    }

    private static void AcceptTls(SocketLane lane, TlsAccepting tls)
    {
        // With TLS it is the dialler who speaks first, without it the listener: a silent peer waits for a Welcome in the clear. It gets an answer.
        if (!lane.WaitForFirstByte(TlsPatience))
        {
            throw new ProtocolException(
                WireErrorCode.Unauthorized, "this agent accepts encrypted connections only, and the peer began none: give the source certificates (postcopy certs issue, --tls-cert), and no --insecure");
        }

        lane.AcceptTls(tls, out string? refusal);
        if (refusal is not null)
        {
            throw new ProtocolException(WireErrorCode.Unauthorized, refusal);
        }
    }

    private static Timer AbortAfter(TimeSpan? deadline, SocketLane lane) =>
        new(static state => ((SocketLane)state!).Abort(), lane, deadline ?? DefaultDeadline, Timeout.InfiniteTimeSpan);

    private static Socket Connect(EndPoint[] endpoints)
    {
        SocketException? last = null;
        foreach (EndPoint endpoint in endpoints)
        {
            Socket socket = LaneSocket.Create(endpoint);
            try
            {
                using Timer deadline = new(static state => ((Socket)state!).Dispose(), socket, DefaultDeadline, Timeout.InfiniteTimeSpan);
                socket.Connect(endpoint);
                return socket;
            }
            catch (SocketException e)
            {
                socket.Dispose();
                last = e;
            }
            catch (ObjectDisposedException)
            {
                last = new SocketException((int)SocketError.TimedOut);
            }
        }

        throw last ?? new SocketException((int)SocketError.HostNotFound);
    }

    private static void Send(SocketLane lane, FrameKind kind, byte[] payload)
    {
        ArrayBufferWriter<byte> frame = new(FrameHeader.Bytes + payload.Length);
        FrameWriter.Write(frame, kind, 0, payload);
        lane.Send(frame.WrittenSpan);
    }

    /// <summary>How a TLS handshake begins (RFC 8446, 5.1): content type 22, version 3.x. No frame does: it would be 790 bytes or more, too long to open a lane.</summary>
    private static ReadOnlySpan<byte> TlsHandshake => [22, 3];

    private static byte[] Receive(SocketLane lane, FrameKind expected)
    {
        Span<byte> header = stackalloc byte[FrameHeader.Bytes];
        if (!lane.ReceiveExactly(header))
        {
            throw Closed(expected);
        }

        if (header.StartsWith(TlsHandshake))
        {
            throw new ProtocolException(WireErrorCode.Unauthorized, "the peer begins an encrypted connection, but this agent was started without certificates (--tls-cert) or with --insecure");
        }

        FrameHeader frame = FrameHeader.Parse(header);
        if (frame.Kind != expected && frame.Kind != FrameKind.Error)
        {
            // Refused by its header: nothing larger than an opening's frames is ever waited for.
            throw new ProtocolException(WireErrorCode.ProtocolViolation, $"opening a lane: a {frame.Kind} frame came instead of {expected}");
        }

        byte[] payload = new byte[frame.PayloadBytes];
        if (!lane.ReceiveExactly(payload))
        {
            throw Closed(expected);
        }

        return frame.Kind == expected ? payload : throw FrameWriter.ParseError(new ReadOnlySequence<byte>(payload));
    }

    private static ProtocolException Closed(FrameKind expected) =>
        new(WireErrorCode.ProtocolViolation, $"opening a lane: the peer closed the connection, or took too long, before its {expected} was complete");
}
