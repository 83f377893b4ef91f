using System.Diagnostics.CodeAnalysis;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using PostCopy.Certificates;
using PostCopy.Wire;

namespace PostCopy.Transport;

/// <summary>
/// TLS 1.3 over a lane's socket, on the calling thread: a read receives and decrypts, a write encrypts and sends. One thread may read while another
/// writes. Failures are the ones a bare socket has.
/// </summary>
internal sealed class TlsChannel : IDisposable
{
    private readonly TlsSocketStream _below;
    private readonly SslStream _stream;
    private bool _judged;
    private string? _verdict;

    [SuppressMessage("Security", "CA5359", Justification = "Every caller of Dial and Accept gets the verdict.")]
    private TlsChannel(Socket socket, Func<X509Certificate2?, X509Chain?, string?> judge)
    {
        // The handshake is completed whoever the peer is, so that it can be told why it is refused: the platform would just hang up, and a TLS 1.3
        // client is done before the server has judged it anyway. The verdict is returned beside the channel and must be the next thing looked at.
        _below = new TlsSocketStream(socket);
        _stream = new SslStream(_below, leaveInnerStreamOpen: false, (_, certificate, chain, _) =>
        {
            _verdict = Judge(judge, certificate as X509Certificate2, chain);
            _judged = true;
            return true;
        });
    }

    /// <summary>A certificate is a stranger's until it is judged, and what cannot be read of it must not be met by anybody but this.</summary>
    private static string? Judge(Func<X509Certificate2?, X509Chain?, string?> judge, X509Certificate2? certificate, X509Chain? chain)
    {
        try
        {
            return judge(certificate, chain);
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException)
        {
            return $"the peer's certificate cannot be read: {e.Message}";
        }
    }

    /// <summary>
    /// Dials an agent. Throws <see cref="ProtocolException"/> when it speaks no TLS 1.3. Whether the agent accepts us, only its first word behind this
    /// tells.
    /// </summary>
    /// <param name="socket">A connection on which nothing was said yet.</param>
    /// <param name="tls">Who we are and whom we want to reach.</param>
    /// <param name="refusal">Why the agent must be refused, and that as the very next thing; null when it need not.</param>
    internal static TlsChannel Dial(Socket socket, TlsDialling tls, out string? refusal)
    {
        TlsChannel channel = new(socket, (certificate, chain) => TlsIdentity.JudgeAgent(certificate, chain, tls.Host));
        channel.Shake("the agent (does it run with certificates?)", stream => stream.AuthenticateAsClient(new SslClientAuthenticationOptions
        {
            TargetHost = tls.Host,
            EnabledSslProtocols = SslProtocols.Tls13,
            ClientCertificateContext = tls.Identity.Certificate,
            CertificateChainPolicy = tls.Identity.AgentPolicy,
            AllowRenegotiation = false,
            AllowTlsResume = false,
        }));
        refusal = channel._judged ? channel._verdict : TlsIdentity.JudgeAgent(null, null, tls.Host);
        channel.Begin(refusal);
        return channel;
    }

    /// <summary>Accepts a source. Throws <see cref="ProtocolException"/> when it speaks no TLS 1.3.</summary>
    /// <param name="socket">A connection on which nothing was said yet.</param>
    /// <param name="tls">Who we are and whom we let in.</param>
    /// <param name="refusal">Why the source must be refused, and that as the very next thing; null when it need not.</param>
    internal static TlsChannel Accept(Socket socket, TlsAccepting tls, out string? refusal)
    {
        TlsChannel channel = new(socket, (certificate, chain) => TlsIdentity.JudgeSource(certificate, chain, tls.Allowed));
        channel.Shake("the source", stream => stream.AuthenticateAsServer(new SslServerAuthenticationOptions
        {
            EnabledSslProtocols = SslProtocols.Tls13,
            ServerCertificateContext = tls.Identity.Certificate,
            ClientCertificateRequired = true,
            CertificateChainPolicy = tls.Identity.SourcePolicy,
            AllowRenegotiation = false,
            // A resumed session would skip the certificates.
            AllowTlsResume = false,
        }));
        refusal = channel._judged ? channel._verdict : TlsIdentity.JudgeSource(null, null, tls.Allowed);
        channel.Begin(refusal);
        return channel;
    }

    /// <summary>At most 16 KiB, a TLS record; 0 when the peer has closed.</summary>
    internal int Read(Span<byte> destination)
    {
        try
        {
            return _stream.Read(destination);
        }
        catch (Exception e) when (e is IOException or AuthenticationException)
        {
            throw AsSocketException(e);
        }
    }

    internal void Write(ReadOnlySpan<byte> source)
    {
        try
        {
            _stream.Write(source);
            _below.Flush();
        }
        catch (Exception e) when (e is IOException or AuthenticationException)
        {
            throw AsSocketException(e);
        }
    }

    public void Dispose() => _stream.Dispose();

    private void Shake(string peer, Action<SslStream> handshake)
    {
        try
        {
            handshake(_stream);
        }
        catch (Exception e) when (e is AuthenticationException or IOException or InvalidOperationException or CryptographicException or ArgumentException)
        {
            _stream.Dispose();
            throw new ProtocolException(WireErrorCode.Unauthorized, $"no TLS 1.3 connection with {peer}: {Innermost(e)}");
        }
    }

    private void Begin(string? refusal)
    {
        if (refusal is null)
        {
            _below.Gather();
        }
    }

    private static string Innermost(Exception e)
    {
        while (e.InnerException is { } inner)
        {
            e = inner;
        }

        return e.Message;
    }

    private static SocketException AsSocketException(Exception e) =>
        e.InnerException as SocketException ?? new SocketException((int)SocketError.ConnectionAborted, $"TLS: {Innermost(e)}");
}

/// <summary>How an agent is dialled.</summary>
/// <param name="Identity">This host.</param>
/// <param name="Host">The name or address that the agent's certificate must have.</param>
internal sealed record TlsDialling(TlsIdentity Identity, string Host)
{
    /// <summary>
    /// For an agent's endpoint; null when connections to it are not encrypted: no files were given, or it is a unix socket. Throws
    /// <see cref="CertificateException"/> when the files do not do.
    /// </summary>
    internal static TlsDialling? For(AgentEndpoint agent, TlsFiles? files, string? name) =>
        files is null || agent.UnixPath is not null
            ? null
            : new TlsDialling(TlsIdentity.Load(files), name is null ? agent.Host : HostName.RequireNameOrAddress(name, "--tls-name"));
}

/// <summary>How sources are let in.</summary>
/// <param name="Identity">This host.</param>
/// <param name="Allowed">See <see cref="TlsIdentity.JudgeSource"/>.</param>
internal sealed record TlsAccepting(TlsIdentity Identity, IReadOnlyCollection<string> Allowed);
