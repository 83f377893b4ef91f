using System.Net;
using PostCopy.Certificates;
using PostCopy.Transport;

namespace PostCopy.Tests.Testing;

/// <summary>An authority in a directory of its own, and hosts that it made certificates for.</summary>
internal sealed class TlsHosts : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("postcopy-tls-").FullName;
    private int _count;

    public TlsHosts()
    {
        AuthorityDirectory = Path.Combine(_root, "authority");
        Authority = CertificateAuthority.Create(AuthorityDirectory);
    }

    public string AuthorityDirectory { get; }

    public CertificateAuthority Authority { get; }

    /// <summary>A host's files, in a directory of their own.</summary>
    public TlsFiles Issue(string name, TimeSpan? lifetime = null, params IPAddress[] addresses) =>
        Authority.Issue(name, addresses, Path.Combine(_root, $"host{++_count}"), lifetime);

    /// <summary>A host of this authority as a party to connections.</summary>
    public TlsIdentity Identity(string name, params IPAddress[] addresses) => TlsIdentity.Load(Issue(name, null, addresses));

    public void Dispose() => Directory.Delete(_root, recursive: true);
}
