using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace PostCopy.Transport;

/// <summary>Where an agent listens: <c>ADDR:PORT</c>, <c>[V6ADDR]:PORT</c>, <c>HOST:PORT</c> or <c>unix:PATH</c>.</summary>
public sealed class AgentEndpoint
{
    private AgentEndpoint(string host, int port, string? unixPath)
    {
        Host = host;
        Port = port;
        UnixPath = unixPath;
    }

    /// <summary>Host name or address; empty for a unix socket.</summary>
    public string Host { get; }

    /// <summary>TCP port; 0 for a unix socket, or to let the kernel choose when listening.</summary>
    public int Port { get; }

    /// <summary>Path of the unix socket; null for TCP.</summary>
    public string? UnixPath { get; }

    /// <summary>True when nobody beyond this machine can be at the other end.</summary>
    public bool IsLocal => UnixPath is not null || Host == "localhost" || (IPAddress.TryParse(Host, out IPAddress? address) && IPAddress.IsLoopback(address));

    /// <summary>Reads the notation. Throws <see cref="FormatException"/> with a message for the user.</summary>
    public static AgentEndpoint Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (text.Contains('\0', StringComparison.Ordinal))
        {
            throw new FormatException("an endpoint has no NUL character");
        }

        if (text.StartsWith("unix:", StringComparison.Ordinal))
        {
            string path = Path.GetFullPath(text[5..] is { Length: > 0 } given ? given : throw new FormatException("unix: needs a path, as in unix:/run/postcopy/agent.sock"));
            // sun_path holds 108 bytes with the final NUL (unix(7)).
            return path.Length <= 107 ? new AgentEndpoint("", 0, path) : throw new FormatException($"the path of a unix socket has at most 107 bytes, '{path}' has {path.Length}");
        }

        int colon = text.LastIndexOf(':');
        string host = colon > 0 ? text[..colon] : "";
        if (host.Length == 0 || !ushort.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out ushort port))
        {
            throw new FormatException($"'{text}' is not HOST:PORT or unix:PATH");
        }

        bool bracketed = host is ['[', .., ']'];
        return bracketed || !host.Contains(':')
            ? new AgentEndpoint(bracketed ? host[1..^1] : host, port, null)
            : throw new FormatException($"write an IPv6 address in brackets: [{host}]:{port}");
    }

    /// <inheritdoc/>
    public override string ToString() =>
        UnixPath is not null ? "unix:" + UnixPath : string.Create(CultureInfo.InvariantCulture, $"{(Host.Contains(':') ? $"[{Host}]" : Host)}:{Port}");

    /// <summary>The socket addresses behind the notation, in the order to try them. Throws <see cref="SocketException"/> when the name is unknown.</summary>
    internal async Task<EndPoint[]> ResolveAsync(CancellationToken cancellation)
    {
        if (UnixPath is not null)
        {
            return [new UnixDomainSocketEndPoint(UnixPath)];
        }

        // Not through the resolver: it refuses 0.0.0.0 and ::, which an agent may listen on.
        if (IPAddress.TryParse(Host, out IPAddress? address))
        {
            return [new IPEndPoint(address, Port)];
        }

        IPAddress[] addresses = await Dns.GetHostAddressesAsync(Host, cancellation).ConfigureAwait(false);
        return [.. addresses.Select(resolved => new IPEndPoint(resolved, Port))];
    }
}
