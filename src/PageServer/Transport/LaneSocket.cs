using System.Net;
using System.Net.Sockets;
using System.Text;
using PostCopy.Wire;

namespace PostCopy.Transport;

/// <summary>The socket options of each lane (tcp(7)).</summary>
internal static class LaneSocket
{
    private const int IPPROTO_TCP = 6;
    private const int TCP_CONGESTION = 13;
    private const int TCP_USER_TIMEOUT = 18;
    private const int TCP_NOTSENT_LOWAT = 25;

    /// <summary>
    /// How long sent data may stay unacknowledged before the kernel gives the connection up. A dead peer is noticed by this on lanes that only
    /// send; long enough for a switch to reboot.
    /// </summary>
    private const int UserTimeoutMs = 60_000;

    /// <summary>
    /// Unsent bytes that may wait in the push lane's socket: enough to keep a 10 Gbit/s link busy between two wake-ups, little enough that a
    /// frame, once written, is soon on the wire.
    /// </summary>
    private const int PushUnsentBytes = 512 << 10;

    internal static Socket Create(EndPoint endpoint) => endpoint is UnixDomainSocketEndPoint
        ? new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
        : new Socket(endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);

    internal static void Tune(Socket socket, LaneRole role, string? congestionControl)
    {
        if (socket.AddressFamily == AddressFamily.Unix)
        {
            return;
        }

        socket.NoDelay = true;
        socket.SetRawSocketOption(IPPROTO_TCP, TCP_USER_TIMEOUT, BitConverter.GetBytes(UserTimeoutMs));
        if (role == LaneRole.Push)
        {
            socket.SetRawSocketOption(IPPROTO_TCP, TCP_NOTSENT_LOWAT, BitConverter.GetBytes(PushUnsentBytes));
        }

        if (congestionControl is not null)
        {
            TrySetCongestionControl(socket, congestionControl);
        }
    }

    /// <summary>False when the kernel has no such algorithm: the default then stays, which is slower on some networks but works on all.</summary>
    internal static bool TrySetCongestionControl(Socket socket, string name)
    {
        try
        {
            socket.SetRawSocketOption(IPPROTO_TCP, TCP_CONGESTION, Encoding.ASCII.GetBytes(name));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
