using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using PostCopy.Buffers;
using PostCopy.Memory;
using PostCopy.Wire;

namespace PostCopy.Transport;

/// <summary>
/// Opens lanes: Welcome, Hello, HelloAck (PROTOCOL.md, "Opening a lane"). Both sides prove that they know the token before anything else is said.
/// Everything blocks on the calling thread, bounded by a deadline.
/// </summary>
internal static class LaneOpening
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(10);
    private static readonly byte[] DiallerLabel = "postcopy dialler"u8.ToArray();
    private static readonly byte[] ListenerLabel = "postcopy listener"u8.ToArray();

    /// <summary>
    /// Connects and opens a lane. Throws <see cref="SocketException"/> when nobody answers, <see cref="ProtocolException"/> when the peer refuses or
    /// is no agent of this version that knows the token.
    /// </summary>
    internal static SocketLane Dial(EndPoint[] endpoints, LaneRole role, SessionToken session, uint epoch, AgentToken token, PagePool pool, string? congestionControl = null)
    {
        Socket socket = Connect(endpoints);
        SocketLane lane = new(socket, pool);
        try
        {
            using Timer deadline = new(static state => ((SocketLane)state!).Abort(), lane, Deadline, Timeout.InfiniteTimeSpan);
            LaneSocket.Tune(socket, role, congestionControl);
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
            FrameWriter.Write(lane.Output, FrameKind.Hello, 0, hello.ToPayload());
            lane.Flush();
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
    internal static (LaneHello Hello, byte[] Proof) Accept(SocketLane lane, AgentToken token)
    {
        using Timer deadline = new(static state => ((SocketLane)state!).Abort(), lane, Deadline, Timeout.InfiniteTimeSpan);
        byte[] nonce = RandomNumberGenerator.GetBytes(LaneHello.NonceBytes);
        FrameWriter.Write(lane.Output, FrameKind.Welcome, 0, new Welcome(ProtocolLimits.Version, ProtocolLimits.Version, nonce).ToPayload());
        lane.Flush();
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
    internal static void Acknowledge(SocketLane lane, byte[] proof)
    {
        FrameWriter.Write(lane.Output, FrameKind.HelloAck, 0, proof);
        lane.Flush();
    }

    /// <summary>Tells the peer why, and closes.</summary>
    internal static void Refuse(SocketLane lane, ProtocolException reason)
    {
        try
        {
            FrameWriter.WriteError(lane.Output, reason.Code, reason.Message);
            lane.Flush();
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // The peer is gone and will not hear it.
        }
        finally
        {
            lane.Dispose();
        }
    }

    private static Socket Connect(EndPoint[] endpoints)
    {
        SocketException? last = null;
        foreach (EndPoint endpoint in endpoints)
        {
            Socket socket = LaneSocket.Create(endpoint);
            try
            {
                using Timer deadline = new(static state => ((Socket)state!).Dispose(), socket, Deadline, Timeout.InfiniteTimeSpan);
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

    private static byte[] Receive(SocketLane lane, FrameKind expected)
    {
        while (true)
        {
            ReadResult read = lane.Read();
            ReadOnlySequence<byte> buffer = read.Buffer;
            if (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
            {
                if (header.Kind == FrameKind.Error)
                {
                    throw FrameWriter.ParseError(payload);
                }

                if (header.Kind != expected)
                {
                    throw new ProtocolException(WireErrorCode.ProtocolViolation, $"opening a lane: a {header.Kind} frame came instead of {expected}");
                }

                byte[] bytes = payload.ToArray();
                lane.Input.AdvanceTo(buffer.Start);
                return bytes;
            }

            lane.Input.AdvanceTo(buffer.Start, buffer.End);
            if (read.IsCompleted)
            {
                throw new ProtocolException(WireErrorCode.ProtocolViolation, $"opening a lane: the peer closed the connection, or the deadline of {Deadline.TotalSeconds} s passed, before its {expected}");
            }
        }
    }
}
