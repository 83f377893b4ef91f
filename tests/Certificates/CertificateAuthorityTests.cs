using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using PostCopy.Certificates;
using PostCopy.Tests.Testing;

namespace PostCopy.Tests.Certificates;

public sealed class CertificateAuthorityTests : IDisposable
{
    private const UnixFileMode OnlyOwner = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly TlsHosts _hosts = new();

    [Fact]
    public void A_hosts_certificate_names_it_and_nothing_else_may_be_done_with_it()
    {
        TlsFiles files = _hosts.Issue("b.example", null, IPAddress.Parse("10.0.0.2"), IPAddress.Parse("fd00::2"));
        using X509Certificate2 host = X509Certificate2.CreateFromPemFile(files.Certificate, files.Key);
        using X509Certificate2 authority = X509CertificateLoader.LoadCertificateFromFile(files.Authority);
        foreach (string name in (string[])["b.example", "10.0.0.2", "fd00::2"])
        {
            Assert.True(host.MatchesHostname(name, allowWildcards: false, allowCommonName: false), name);
        }

        Assert.False(host.MatchesHostname("c.example"));
        Assert.False(Assert.Single(host.Extensions.OfType<X509BasicConstraintsExtension>()).CertificateAuthority);
        Assert.Equal(X509KeyUsageFlags.DigitalSignature, Assert.Single(host.Extensions.OfType<X509KeyUsageExtension>()).KeyUsages);
        Assert.Equal(ECCurve.NamedCurves.nistP256.Oid.Value, host.GetECDsaPublicKey()!.ExportParameters(false).Curve.Oid.Value);
        X509BasicConstraintsExtension constraints = Assert.Single(authority.Extensions.OfType<X509BasicConstraintsExtension>());
        Assert.True(constraints is { CertificateAuthority: true, HasPathLengthConstraint: true, PathLengthConstraint: 0 });
        Assert.True(host.NotAfter <= authority.NotAfter);

        using X509Chain chain = new();
        chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        chain.ChainPolicy.CustomTrustStore.Add(authority);
        chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        Assert.True(chain.Build(host), string.Join(", ", chain.ChainStatus.Select(static status => status.StatusInformation)));
    }

    [Fact]
    public void Keys_are_for_their_owner_alone()
    {
        TlsFiles files = _hosts.Issue("b");
        Assert.Equal(OnlyOwner, File.GetUnixFileMode(files.Key));
        Assert.Equal(OnlyOwner, File.GetUnixFileMode(Path.Combine(_hosts.AuthorityDirectory, "ca-key.pem")));
        Assert.Equal(OnlyOwner | UnixFileMode.UserExecute, File.GetUnixFileMode(_hosts.AuthorityDirectory));
        Assert.Equal(OnlyOwner | UnixFileMode.UserExecute, File.GetUnixFileMode(Path.GetDirectoryName(files.Key)!));
        Assert.Empty(Directory.EnumerateFiles(Path.GetDirectoryName(files.Key)!).Select(Path.GetFileName).Except(["ca.pem", "cert.pem", "key.pem"]));
        Assert.DoesNotContain("PRIVATE", File.ReadAllText(files.Authority) + File.ReadAllText(files.Certificate));
    }

    [Fact]
    public void Nothing_is_overwritten()
    {
        TlsFiles files = _hosts.Issue("b");
        string key = File.ReadAllText(files.Key);
        Assert.Throws<CertificateException>(() => _hosts.Authority.Issue("b", [], Path.GetDirectoryName(files.Key)!));
        Assert.Throws<CertificateException>(() => CertificateAuthority.Create(_hosts.AuthorityDirectory));
        Assert.Equal(key, File.ReadAllText(files.Key));
    }

    [Theory]
    [InlineData("")]
    [InlineData("*")]
    [InlineData("*.example")]
    [InlineData("10.0.0.1")]
    [InlineData("a b")]
    [InlineData("a..b")]
    [InlineData("-a")]
    [InlineData("a/../b")]
    [InlineData("a,CN=b")]
    public void What_is_no_hosts_name_gets_no_certificate(string name) => Assert.Throws<CertificateException>(() => _hosts.Issue(name));

    [Fact]
    public void Without_an_authority_nothing_is_issued()
    {
        CertificateException e = Assert.Throws<CertificateException>(() => CertificateAuthority.Open("/nonexistent"));
        Assert.Contains("postcopy certs init", e.Message);
    }

    public void Dispose() => _hosts.Dispose();
}
