using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace PostCopy.Certificates;

/// <summary>
/// A small authority in a directory: <c>ca.pem</c> and <c>ca-key.pem</c>. It makes the certificates of hosts that may exchange containers. Keys are
/// P-256 and readable by their owner alone (0600); nothing is ever overwritten.
/// </summary>
public sealed class CertificateAuthority
{
    private const UnixFileMode OnlyOwner = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode OnlyOwnersDirectory = OnlyOwner | UnixFileMode.UserExecute;

    /// <summary>RFC 5280, 4.1.2.2 allows 20 bytes; 16 random ones never come twice.</summary>
    private const int SerialBytes = 16;

    private static readonly TimeSpan AuthorityLifetime = TimeSpan.FromDays(10 * 365);
    private static readonly TimeSpan HostLifetime = TimeSpan.FromDays(2 * 365);

    /// <summary>Hosts whose clocks are behind by less accept a new certificate.</summary>
    private static readonly TimeSpan ClockSlack = TimeSpan.FromHours(1);

    /// <summary>A host is both ends of connections: it sends containers and receives them.</summary>
    private static readonly OidCollection BothEnds = [new Oid("1.3.6.1.5.5.7.3.1", "serverAuth"), new Oid("1.3.6.1.5.5.7.3.2", "clientAuth")];

    private readonly string _directory;

    private CertificateAuthority(string directory) => _directory = directory;

    /// <summary>Makes an authority. Throws <see cref="CertificateException"/> when the directory has one already.</summary>
    public static CertificateAuthority Create(string directory)
    {
        ArgumentNullException.ThrowIfNull(directory);
        CertificateAuthority authority = new(directory);
        RequireAbsent(authority.CertificatePath, authority.KeyPath);
        Directory.CreateDirectory(directory, OnlyOwnersDirectory);
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        // The subject is unique: a certificate of another authority is then found to be one, not a forgery by this one.
        CertificateRequest request = new($"CN=postcopy authority {Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(4))}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: true, hasPathLengthConstraint: true, pathLengthConstraint: 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, critical: true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, critical: false));
        DateTimeOffset now = DateTimeOffset.UtcNow;
        using X509Certificate2 certificate = request.CreateSelfSigned(now - ClockSlack, now + AuthorityLifetime);
        Write(authority.KeyPath, key.ExportPkcs8PrivateKeyPem(), OnlyOwner);
        Write(authority.CertificatePath, certificate.ExportCertificatePem(), OnlyOwner | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        return authority;
    }

    /// <summary>The authority of a directory. Throws <see cref="CertificateException"/> when it has none.</summary>
    public static CertificateAuthority Open(string directory)
    {
        ArgumentNullException.ThrowIfNull(directory);
        CertificateAuthority authority = new(directory);
        return File.Exists(authority.CertificatePath) && File.Exists(authority.KeyPath)
            ? authority
            : throw new CertificateException($"there is no authority in {directory}: postcopy certs init makes one");
    }

    private string CertificatePath => Path.Combine(_directory, TlsFiles.AuthorityName);

    private string KeyPath => Path.Combine(_directory, TlsFiles.AuthorityKeyName);

    /// <summary>
    /// Makes a host's certificate and key in a directory, with the authority's certificate beside them: all that the host needs. Throws
    /// <see cref="CertificateException"/> when the name is none, or files would be overwritten.
    /// </summary>
    /// <param name="name">The host's DNS name, by which others know it.</param>
    /// <param name="addresses">Addresses by which others may call it instead.</param>
    /// <param name="directory">Where the files go.</param>
    /// <param name="lifetime">How long the certificate is valid. Defaults to two years.</param>
    public TlsFiles Issue(string name, IEnumerable<IPAddress> addresses, string directory, TimeSpan? lifetime = null)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(addresses);
        ArgumentNullException.ThrowIfNull(directory);
        X509Extension names = HostName.Names(name, addresses).Build();
        TlsFiles files = TlsFiles.InDirectory(directory);
        bool ownDirectory = Path.GetFullPath(directory) == Path.GetFullPath(_directory);
        RequireAbsent(ownDirectory ? [files.Certificate, files.Key] : [files.Certificate, files.Key, files.Authority]);
        using X509Certificate2 authority = Load();
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        CertificateRequest request = new($"CN={name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(certificateAuthority: false, hasPathLengthConstraint: false, pathLengthConstraint: 0, critical: true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension(BothEnds, critical: false));
        request.CertificateExtensions.Add(names);
        request.CertificateExtensions.Add(X509AuthorityKeyIdentifierExtension.CreateFromCertificate(authority, includeKeyIdentifier: true, includeIssuerAndSerial: false));
        DateTimeOffset now = DateTimeOffset.UtcNow;
        // Nothing outlives its authority, nor is older.
        DateTimeOffset from = Later(now - ClockSlack, authority.NotBefore);
        DateTimeOffset until = Earlier(now + (lifetime ?? HostLifetime), authority.NotAfter);
        using X509Certificate2 certificate = request.Create(authority, from, until, RandomNumberGenerator.GetBytes(SerialBytes));
        Directory.CreateDirectory(directory, OnlyOwnersDirectory);
        Write(files.Key, key.ExportPkcs8PrivateKeyPem(), OnlyOwner);
        Write(files.Certificate, certificate.ExportCertificatePem(), OnlyOwner | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        if (!ownDirectory)
        {
            File.Copy(CertificatePath, files.Authority);
        }

        return files;
    }

    private X509Certificate2 Load()
    {
        try
        {
            return X509Certificate2.CreateFromPemFile(CertificatePath, KeyPath);
        }
        catch (CryptographicException e)
        {
            throw new CertificateException($"the authority in {_directory} cannot be used: {e.Message}", e);
        }
    }

    private static DateTimeOffset Later(DateTimeOffset a, DateTimeOffset b) => a > b ? a : b;

    private static DateTimeOffset Earlier(DateTimeOffset a, DateTimeOffset b) => a < b ? a : b;

    private static void RequireAbsent(params ReadOnlySpan<string> paths)
    {
        foreach (string path in paths)
        {
            if (File.Exists(path))
            {
                throw new CertificateException($"{path} exists already: move it away first, or name another directory");
            }
        }
    }

    private static void Write(string path, string text, UnixFileMode mode)
    {
        FileStreamOptions options = new() { Mode = FileMode.CreateNew, Access = FileAccess.Write, UnixCreateMode = mode };
        using FileStream file = new(path, options);
        file.Write(Encoding.ASCII.GetBytes(text + "\n"));
    }
}
