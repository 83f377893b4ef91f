using System.Net.Sockets;
using PostCopy.Transport;

namespace PostCopy.CriuWire;

/// <summary>The options of a socket that speaks CRIU's protocol, at either end.</summary>
internal static class CriuSocket
{
    /// <summary>The protocol has no heartbeat: a peer whose host vanished is noticed after about a minute by the kernel's probes (tcp(7)).</summary>
    private const int ProbeAfterSeconds = 30;
    private const int ProbeEverySeconds = 10;
    private const int Probes = 3;

    /// <summary>A connected stream socket that whoever started us has opened.</summary>
    /// <param name="descriptor">Its number; it is the returned socket's from here on.</param>
    /// <param name="mustBeTcp">A page server would take our death for success on any other kind, which cannot be reset.</param>
    internal static Socket Inherit(int descriptor, bool mustBeTcp)
    {
        Socket socket;
        try
        {
            socket = new Socket(new SafeSocketHandle(descriptor, ownsHandle: true));
        }
        catch (SocketException e)
        {
            throw new IOException($"--ps-socket {descriptor}: {e.Message}", e);
        }

        string? wrong = socket switch
        {
            { SocketType: not SocketType.Stream } or { Connected: false } => "not a connected stream socket",
            { AddressFamily: not (AddressFamily.InterNetwork or AddressFamily.InterNetworkV6) } when mustBeTcp =>
                "not a TCP socket, and no other kind can be reset: a dump would take our death for success and kill its tasks",
            _ => null,
        };
        return wrong is null ? socket : throw new IOException($"--ps-socket {descriptor}: {wrong}");
    }

    /// <summary>Sets them, of a TCP socket.</summary>
    internal static void Tune(Socket socket)
    {
        if (socket.AddressFamily is not (AddressFamily.InterNetwork or AddressFamily.InterNetworkV6))
        {
            return;
        }

        socket.NoDelay = true;
        LaneSocket.AskForLowDelay(socket);
        // No TCP_USER_TIMEOUT: it would also end a connection whose peer lives and cannot receive, as when the memory cgroup that the pages go into is full for
        // a minute. This protocol knows no second connection, so every one that is given up is memory lost. A dead host is found by the probes, or, when
        // something was under way to it, by the kernel's last retransmission (tcp_retries2, a quarter of an hour): until then tasks wait, which they would do as well after it.
        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime, ProbeAfterSeconds);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval, ProbeEverySeconds);
        socket.SetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount, Probes);
    }
}
