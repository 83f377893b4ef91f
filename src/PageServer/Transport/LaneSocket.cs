using System.Net;
using System.Net.Sockets;
using System.Text;
using PostCopy.Wire;

namespace PostCopy.Transport;

/// <summary>The socket options of each lane (tcp(7), ip(7)).</summary>
internal static class LaneSocket
{
    private const int IPPROTO_IP = 0;
    private const int IPPROTO_TCP = 6;
    private const int IPPROTO_IPV6 = 41;
    private const int IP_TOS = 1;
    private const int IPV6_TCLASS = 67;
    private const int IPTOS_LOWDELAY = 0x10;
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
        else
        {
            AskForLowDelay(socket);
        }

        if (congestionControl is not null)
        {
            TrySetCongestionControl(socket, congestionControl);
        }
    }

    /// <summary>
    /// What a fault waits for overtakes what is pushed wherever they share a queue that knows bands or classes: the host's own (pfifo_fast, the kernel's
    /// default, among them), and switches' that honour the field.
    /// </summary>
    internal static void AskForLowDelay(Socket socket)
    {
        byte[] lowDelay = BitConverter.GetBytes(IPTOS_LOWDELAY);
        // A socket of IPv6 may carry IPv4, and then the first one counts.
        socket.SetRawSocketOption(IPPROTO_IP, IP_TOS, lowDelay);
        if (socket.AddressFamily == AddressFamily.InterNetworkV6)
        {
            socket.SetRawSocketOption(IPPROTO_IPV6, IPV6_TCLASS, lowDelay);
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
