namespace PostCopy.Certificates;

/// <summary>The three PEM files that make a host known to others and others to it.</summary>
/// <param name="Authority">Certificates of the authorities whose hosts are trusted.</param>
/// <param name="Certificate">This host's certificate, with intermediate ones behind it if there are any.</param>
/// <param name="Key">The certificate's private key; only its owner may be able to read it (0600).</param>
public sealed record TlsFiles(string Authority, string Certificate, string Key)
{
    /// <summary>Where a host's files are looked for when none are named.</summary>
    public const string DefaultDirectory = "/etc/postcopy/tls";

    internal const string AuthorityName = "ca.pem";
    internal const string AuthorityKeyName = "ca-key.pem";
    internal const string CertificateName = "cert.pem";
    internal const string KeyName = "key.pem";

    /// <summary>The files of a directory that <c>postcopy certs</c> made, by the names that it gives them.</summary>
    public static TlsFiles InDirectory(string directory) =>
        new(Path.Combine(directory, AuthorityName), Path.Combine(directory, CertificateName), Path.Combine(directory, KeyName));
}
