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

    /// <summary>An inherited TCP socket that is connected to the page server (<c>--ps-socket</c>); null to connect to the address.</summary>
    public int? Descriptor { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Descriptor is { } descriptor ? $"descriptor {descriptor}" : $"{(Host.Contains(':') ? $"[{Host}]" : Host)}:{Port}";

    internal CriuPageConnection Connect(CriuFrameFormat format)
    {
        Func<Stream, Stream>? secure = Tls is null ? null : stream => Tls.AsClient(stream, Host);
        if (Descriptor is { } descriptor)
        {
            return CriuPageConnection.Over(CriuSocket.Inherit(descriptor, mustBeTcp: true), format, secure);
        }

        try
        {
            EndPoint[] endpoints = [.. Dns.GetHostAddresses(Host).Select(address => new IPEndPoint(address, Port))];
            return CriuPageConnection.Connect(endpoints, format, secure);
        }
        catch (SocketException e)
        {
            throw new IOException($"no page server answers at {this}: {e.Message}", e);
        }
    }
}
