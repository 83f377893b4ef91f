using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using PostCopy.Certificates;
using PostCopy.Wire;

namespace PostCopy.Transport;

/// <summary>
/// Who this host is and whom it trusts: its certificate and key, and the authorities of others. Certificates are judged here, by this program's own
/// rules and not the system's: only the given authorities count, only exact names, only certificates made for this purpose.
/// </summary>
internal sealed class TlsIdentity
{
    private const string ServerAuthentication = "1.3.6.1.5.5.7.3.1";
    private const string ClientAuthentication = "1.3.6.1.5.5.7.3.2";

    /// <summary>A certificate has about a kilobyte.</summary>
    private const int MaxFileBytes = 1 << 20;

    /// <summary>Of a peer's names that are told; it may have shown anything.</summary>
    private const int MaxDescribedChars = 256;

    private readonly X509Certificate2Collection _authorities;

    private TlsIdentity(SslStreamCertificateContext certificate, X509Certificate2Collection authorities)
    {
        Certificate = certificate;
        _authorities = authorities;
    }

    internal SslStreamCertificateContext Certificate { get; }

    /// <summary>For messages: the names in this host's certificate.</summary>
    internal string Names => Describe(Certificate.TargetCertificate);

    /// <summary>Reads the files. Throws <see cref="CertificateException"/> with a message for the user.</summary>
    internal static TlsIdentity Load(TlsFiles files)
    {
        RequireUsable(files.Authority);
        RequireUsable(files.Certificate);
        RequireUsable(files.Key);
        if ((Read(files.Key, () => File.GetUnixFileMode(files.Key)) & ~(UnixFileMode.UserRead | UnixFileMode.UserWrite)) != 0)
        {
            throw new CertificateException($"the key {files.Key} can be read or changed by others than its owner: chmod 0600 {files.Key}");
        }

        X509Certificate2Collection authorities = Read(files.Authority, () =>
        {
            X509Certificate2Collection read = [];
            read.ImportFromPemFile(files.Authority);
            return read;
        });
        if (authorities.Count == 0)
        {
            throw new CertificateException($"there is no certificate in {files.Authority}");
        }

        X509Certificate2Collection chain = Read(files.Certificate, () =>
        {
            X509Certificate2Collection read = [];
            read.ImportFromPemFile(files.Certificate);
            return read;
        });
        X509Certificate2 own = Read(files.Certificate, () => X509Certificate2.CreateFromPemFile(files.Certificate, files.Key));
        RequireValidNow(own, files.Certificate);
        return new TlsIdentity(SslStreamCertificateContext.Create(own, [.. chain.Skip(1)], offline: true), authorities);
    }

    /// <summary>How an agent's certificate is judged: the given authorities only, and nothing is fetched from addresses in certificates.</summary>
    internal X509ChainPolicy AgentPolicy => Policy(ServerAuthentication);

    /// <summary>How a source's certificate is judged.</summary>
    internal X509ChainPolicy SourcePolicy => Policy(ClientAuthentication);

    /// <summary>Why an agent's certificate does not do; null when it does.</summary>
    /// <param name="certificate">What it showed.</param>
    /// <param name="chain">Built under <see cref="AgentPolicy"/>.</param>
    /// <param name="host">Whom we wanted to reach.</param>
    internal static string? JudgeAgent(X509Certificate2? certificate, X509Chain? chain, string host)
    {
        if (certificate is null || chain is null)
        {
            return "the agent showed no certificate";
        }

        string names = Describe(certificate);
        return Judge(certificate, chain) is { } problem
            ? $"the agent's certificate (for {names}) {problem}"
            : HostName.Matches(certificate, host)
                ? null
                : $"the agent's certificate is for {names}, not for {host}: dial it by a name it has, say its name with --tls-name, or issue a certificate that covers {host}";
    }

    /// <summary>Why a source's certificate does not do; null when it does.</summary>
    /// <param name="certificate">What it showed.</param>
    /// <param name="chain">Built under <see cref="SourcePolicy"/>.</param>
    /// <param name="allowed">Names of which it must have one; when there are none, every certificate of the authorities does.</param>
    internal static string? JudgeSource(X509Certificate2? certificate, X509Chain? chain, IReadOnlyCollection<string> allowed)
    {
        if (certificate is null || chain is null)
        {
            return "the source showed no certificate: postcopy certs issue makes one";
        }

        string names = Describe(certificate);
        return Judge(certificate, chain) is { } problem
            ? $"the source's certificate (for {names}) {problem}"
            : allowed.Count == 0 || allowed.Any(name => HostName.Matches(certificate, name))
                ? null
                : $"the source's certificate is for {names}, whom this agent does not allow (--allow)";
    }

    private X509ChainPolicy Policy(string purpose)
    {
        X509ChainPolicy policy = new()
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
            DisableCertificateDownloads = true,
        };
        policy.CustomTrustStore.AddRange(_authorities);
        policy.ApplicationPolicy.Add(new Oid(purpose));
        return policy;
    }

    private static string Describe(X509Certificate2 certificate) => PrintableText.Of(HostName.Describe(certificate), MaxDescribedChars);

    private static string? Judge(X509Certificate2 certificate, X509Chain chain)
    {
        X509ChainStatusFlags problems = chain.ChainStatus.Aggregate(X509ChainStatusFlags.NoError, static (all, status) => all | status.Status);
        const X509ChainStatusFlags Foreign = X509ChainStatusFlags.PartialChain | X509ChainStatusFlags.UntrustedRoot | X509ChainStatusFlags.NotSignatureValid;
        return problems switch
        {
            X509ChainStatusFlags.NoError => null,
            _ when (problems & Foreign) != 0 => "is not signed by an authority that is trusted here (--tls-ca)",
            X509ChainStatusFlags.NotTimeValid when certificate.NotAfter < DateTime.Now => $"has expired on {certificate.NotAfter:yyyy-MM-dd HH:mm}: issue a new one (postcopy certs issue)",
            X509ChainStatusFlags.NotTimeValid when certificate.NotBefore > DateTime.Now => $"is valid from {certificate.NotBefore:yyyy-MM-dd HH:mm} on: compare the hosts' clocks",
            X509ChainStatusFlags.NotValidForUsage => "was not issued for this purpose",
            _ => $"is not valid here ({problems})",
        };
    }

    private static void RequireValidNow(X509Certificate2 own, string path)
    {
        if (own.NotAfter < DateTime.Now || own.NotBefore > DateTime.Now)
        {
            throw new CertificateException(
                $"this host's certificate {path} is valid from {own.NotBefore:yyyy-MM-dd HH:mm} to {own.NotAfter:yyyy-MM-dd HH:mm}, which is not now: issue a new one (postcopy certs issue), or set the clock");
        }
    }

    private static void RequireUsable(string path)
    {
        FileInfo file = new(path);
        if (!file.Exists || file.Length > MaxFileBytes)
        {
            throw new CertificateException(file.Exists
                ? $"{path} has {file.Length} bytes, at most {MaxFileBytes} are read"
                : $"there is no file {path}: postcopy certs makes certificates and keys");
        }
    }

    private static T Read<T>(string path, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is CryptographicException or ArgumentException or NotSupportedException or UnauthorizedAccessException or IOException)
        {
            throw new CertificateException($"{path} cannot be used: {e.Message}", e);
        }
    }
}
