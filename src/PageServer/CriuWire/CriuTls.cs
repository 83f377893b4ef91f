using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace PostCopy.CriuWire;

/// <summary>CRIU's <c>--tls</c>: TLS 1.2 or 1.3 around the same frames, with X.509 certificates on both sides (<c>criu/tls.c</c>).</summary>
public sealed class CriuTls
{
    /// <summary>CRIU's default places of the files.</summary>
    private const string DefaultCaFile = "/etc/pki/CA/cacert.pem";
    private const string DefaultRevocationFile = "/etc/pki/CA/cacrl.pem";
    private const string DefaultCertificateFile = "/etc/pki/criu/cert.pem";
    private const string DefaultKeyFile = "/etc/pki/criu/private/key.pem";

    /// <summary>PEM file with the authorities to trust (<c>--tls-cacert</c>). When null, CRIU's default place and the system's authorities.</summary>
    public string? CaFile { get; init; }

    /// <summary>PEM file with the authorities' lists of certificates they take back (<c>--tls-cacrl</c>). When null, CRIU's default place if it is there.</summary>
    public string? RevocationFile { get; init; }

    /// <summary>PEM file with our certificate (<c>--tls-cert</c>).</summary>
    public string CertificateFile { get; init; } = DefaultCertificateFile;

    /// <summary>PEM file with its key (<c>--tls-key</c>).</summary>
    public string KeyFile { get; init; } = DefaultKeyFile;

    /// <summary>Do not compare the peer's name with its certificate (<c>--tls-no-cn-verify</c>).</summary>
    public bool AcceptAnyName { get; init; }

    /// <summary>Whether the files can be used. They are read again for each connection: certificates are renewed, lists grow old.</summary>
    /// <exception cref="IOException">One cannot.</exception>
    internal void RequireUsable()
    {
        _ = OwnCertificate();
        _ = ChainPolicy();
        _ = Revocations();
    }

    internal SslStream AsClient(Stream stream, string host)
    {
        SslStream secure = new(stream, leaveInnerStreamOpen: false);
        Handshake(() => secure.AuthenticateAsClient(new SslClientAuthenticationOptions
        {
            TargetHost = host,
            ClientCertificateContext = OwnCertificate(),
            RemoteCertificateValidationCallback = Acceptance(),
            CertificateChainPolicy = ChainPolicy(),
        }));
        return secure;
    }

    internal SslStream AsServer(Stream stream)
    {
        SslStream secure = new(stream, leaveInnerStreamOpen: false);
        Handshake(() => secure.AuthenticateAsServer(new SslServerAuthenticationOptions
        {
            ServerCertificateContext = OwnCertificate(),
            ClientCertificateRequired = true,
            RemoteCertificateValidationCallback = Acceptance(),
            CertificateChainPolicy = ChainPolicy(),
        }));
        return secure;
    }

    private static void Handshake(Action authenticate)
    {
        try
        {
            authenticate();
        }
        catch (AuthenticationException e)
        {
            throw new IOException($"TLS: {e.Message}", e);
        }
    }

    private RemoteCertificateValidationCallback Acceptance()
    {
        SslPolicyErrors forgiven = AcceptAnyName ? SslPolicyErrors.RemoteCertificateNameMismatch : SslPolicyErrors.None;
        IReadOnlyList<RevocationList> revoked = Revocations();
        return (_, certificate, chain, errors) => certificate is not null && chain is not null && (errors & ~forgiven) == SslPolicyErrors.None
            && !chain.ChainElements.Any(element => revoked.Any(list => list.Refuses(element.Certificate, DateTimeOffset.UtcNow)));
    }

    private IReadOnlyList<RevocationList> Revocations() => (RevocationFile ?? (File.Exists(DefaultRevocationFile) ? DefaultRevocationFile : null)) is { } file
        ? RevocationList.ReadFile(file)
        : [];

    /// <summary>With what follows it in its file: the certificates between it and the authority, which the peer need not have.</summary>
    private SslStreamCertificateContext OwnCertificate()
    {
        try
        {
            X509Certificate2 own = X509Certificate2.CreateFromPemFile(CertificateFile, KeyFile);
            X509Certificate2Collection chain = [];
            chain.ImportFromPemFile(CertificateFile);
            return SslStreamCertificateContext.Create(own, [.. chain.Skip(1)], offline: true);
        }
        catch (CryptographicException e)
        {
            throw new IOException($"TLS: {CertificateFile} with {KeyFile} cannot be used: {e.Message}", e);
        }
    }

    private X509ChainPolicy ChainPolicy()
    {
        X509ChainPolicy policy = new() { RevocationMode = X509RevocationMode.NoCheck, DisableCertificateDownloads = true };
        string file = CaFile ?? DefaultCaFile;
        if (CaFile is null && !File.Exists(file))
        {
            return policy;
        }

        try
        {
            policy.CustomTrustStore.ImportFromPemFile(file);
        }
        catch (CryptographicException e)
        {
            throw new IOException($"TLS: {file} cannot be used: {e.Message}", e);
        }

        policy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        return policy;
    }
}
