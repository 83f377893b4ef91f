using System.Net.Sockets;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.CriuWire;

/// <summary>The options of a socket that speaks CRIU's protocol, at either end.</summary>
internal static class CriuSocket
{
    /// <summary>The protocol has no heartbeat: a peer whose host vanished is noticed after about a minute by the kernel's probes (tcp(7)).</summary>
    private const int ProbeAfterSeconds = 30;
    private const int ProbeEverySeconds = 10;
    private const int Probes = 3;

    internal static void Tune(Socket socket)
    {
        LaneSocket.Tune(socket, LaneRole.Demand, congestionControl: null);
        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, ProbeAfterSeconds);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, ProbeEverySeconds);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, Probes);
    }
}
