using System.Net;
using System.Net.Sockets;

namespace PostCopy.CriuWire;

/// <summary>Where a CRIU page server is: <c>--address</c> and <c>--port</c>.</summary>
/// <param name="Host">An address or a host's name.</param>
/// <param name="Port">The TCP port.</param>
public sealed record PageServerAddress(string Host, int Port)
{
    /// <summary>How to encrypt; null for CRIU's default, which is not to.</summary>
    public CriuTls? Tls { get; init; }

    /// <inheritdoc/>
    public override string ToString() => $"{(Host.Contains(':') ? $"[{Host}]" : Host)}:{Port}";

    internal CriuPageConnection Connect(CriuFrameFormat format)
    {
        try
        {
            EndPoint[] endpoints = [.. Dns.GetHostAddresses(Host).Select(address => new IPEndPoint(address, Port))];
            return CriuPageConnection.Connect(endpoints, format, Tls is null ? null : stream => Tls.AsClient(stream, Host));
        }
        catch (SocketException e)
        {
            throw new IOException($"no page server answers at {this}: {e.Message}", e);
        }
    }
}
