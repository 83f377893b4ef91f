using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using PostCopy.Memory;
using PostCopy.Tests.Wire;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Testing;

/// <summary>A peer that does whatever the test says, on a real socket, with none of the product's loops between.</summary>
internal sealed class Peer(Socket socket) : IDisposable
{
    /// <summary>After this a test has failed. Long, because machines that test may be busy; nothing waits for it that goes well.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    public static Peer Connect(EndPoint endpoint)
    {
        Socket socket = endpoint is UnixDomainSocketEndPoint
            ? new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
            : new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        socket.ReceiveTimeout = (int)Patience.TotalMilliseconds;
        socket.Connect(endpoint);
        return new Peer(socket);
    }

    public void Send(params byte[] bytes) => socket.Send(bytes);

    /// <summary>Sends to a side that may have closed already.</summary>
    public void TrySend(byte[] bytes)
    {
        try
        {
            socket.Send(bytes);
        }
        catch (SocketException)
        {
            // It has.
        }
    }

    /// <summary>The next frame; null when the other side has closed (or reset) the connection.</summary>
    public (FrameKind Kind, ulong Id, byte[] Payload)? Receive()
    {
        byte[] header = new byte[FrameHeader.Bytes];
        if (!Fill(header))
        {
            return null;
        }

        FrameHeader parsed = FrameHeader.Parse(header);
        byte[] payload = new byte[parsed.PayloadBytes];
        Assert.True(Fill(payload), "the connection ended inside a frame");
        return (parsed.Kind, parsed.Id, payload);
    }

    /// <summary>The next frame that is no heartbeat, which must be of this kind.</summary>
    public byte[] Expect(FrameKind kind)
    {
        while (true)
        {
            (FrameKind Kind, ulong Id, byte[] Payload)? frame = Receive();
            if (frame is not { Kind: FrameKind.Heartbeat or FrameKind.HeartbeatAck })
            {
                Assert.True(frame is not null, $"the connection was closed instead of a {kind} frame");
                Assert.True(kind == frame.Value.Kind, $"a {frame.Value.Kind} frame instead of {kind}: {System.Text.Encoding.UTF8.GetString(frame.Value.Payload)}");
                return frame.Value.Payload;
            }
        }
    }

    /// <summary>The error that comes next, and the end behind it.</summary>
    public (WireErrorCode Code, string Text) ExpectRefusal()
    {
        byte[] payload = Expect(FrameKind.Error);
        ExpectEnd();
        return ((WireErrorCode)BitConverter.ToUInt16(payload), System.Text.Encoding.UTF8.GetString(payload[2..]));
    }

    /// <summary>The connection ends; what comes before is not looked at.</summary>
    public void ExpectEnd()
    {
        while (Receive() is not null)
        {
        }
    }

    /// <summary>Opens a lane by the book, with this role and session. Returns the hello, for those who want to play it again.</summary>
    public byte[] Open(AgentToken token, LaneRole role, SessionToken session)
    {
        byte[] hello = Hello(token, Welcome.Parse(Expect(FrameKind.Welcome)), role, session);
        Send(hello);
        return hello;
    }

    /// <summary>A hello as the book wants it, but for what <paramref name="change"/> does to it before it is signed.</summary>
    public static byte[] Hello(AgentToken token, Welcome welcome, LaneRole role, SessionToken session, Action<byte[]>? change = null)
    {
        byte[] nonce = RandomNumberGenerator.GetBytes(LaneHello.NonceBytes);
        byte[] hello = new LaneHello(ProtocolLimits.Version, role, (uint)PageSize.Bytes, 1, session, nonce, new byte[LaneHello.MacBytes]).ToPayload();
        change?.Invoke(hello);
        byte[] mac = token.Sign("postcopy dialler"u8.ToArray(), welcome.Nonce.ToArray(), hello[..LaneHello.SignedBytes]);
        mac.CopyTo(hello, LaneHello.SignedBytes);
        return Samples.Frame(FrameKind.Hello, 0, hello);
    }

    public void Dispose() => socket.Dispose();

    private bool Fill(Span<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            int received;
            try
            {
                received = socket.Receive(bytes);
            }
            catch (SocketException e) when (e.SocketErrorCode is SocketError.ConnectionReset or SocketError.ConnectionAborted)
            {
                // The other side closed with bytes of ours unread (tcp(7)).
                received = 0;
            }

            if (received == 0)
            {
                return false;
            }

            bytes = bytes[received..];
        }

        return true;
    }
}
