using System.Net;
using System.Net.Sockets;
using PostCopy.Buffers;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Perf.Support;

internal static class LoopbackLanes
{
    internal const string CongestionControl = "cubic";

    /// <summary>Both ends of a lane over loopback TCP, tuned as the product tunes it.</summary>
    internal static (SocketLane Source, SocketLane Target) Connect(LaneRole role, PagePool pool, LoopbackTls? tls = null)
    {
        (Socket sourceSocket, Socket targetSocket) = ConnectSockets(role);
        SocketLane source = new(sourceSocket, pool), target = new(targetSocket, pool);
        if (tls is not null)
        {
            Task<string?> accepting = Task.Run(() =>
            {
                target.AcceptTls(tls.Target, out string? refusal);
                return refusal;
            });
            source.DialTls(tls.Source, out string? refusal);
            Assert.Null(refusal);
            Assert.Null(accepting.GetAwaiter().GetResult());
        }

        return (source, target);
    }

    internal static (Socket Source, Socket Target) ConnectSockets(LaneRole role)
    {
        using Socket listener = LaneSocket.Create(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        Socket source = LaneSocket.Create(listener.LocalEndPoint!);
        source.Connect(listener.LocalEndPoint!);
        Socket target = listener.Accept();
        LaneSocket.Tune(source, role, CongestionControl);
        LaneSocket.Tune(target, role, CongestionControl);
        return (source, target);
    }
}
