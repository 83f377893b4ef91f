using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using PostCopy.CriuWire;

namespace PostCopy.Tests.DropIn;

/// <summary><c>--tls-cacrl</c>: whose certificate was taken back does not get in, at either end.</summary>
public sealed class RevocationListTests : IDisposable
{
    private static readonly DateTimeOffset Now = DateTimeOffset.UtcNow;
    private readonly string _directory = Directory.CreateTempSubdirectory("postcopy-crl-test-").FullName;
    private readonly RSA _authorityKey = RSA.Create(2048);
    private readonly X509Certificate2 _authority;

    public RevocationListTests()
    {
        CertificateRequest request = new("CN=revocation test", _authorityKey, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        _authority = request.CreateSelfSigned(Now.AddDays(-2), Now.AddDays(2));
        File.WriteAllText(PathOf("ca.pem"), _authority.ExportCertificatePem());
    }

    [Theory]
    [InlineData(3, 4, 1, true)]
    [InlineData(3, 0x80, 1, true)]
    [InlineData(3, 3, 1, false)]
    [InlineData(0x80, 0x80, 1, false)]
    [InlineData(3, 4, -1, false)]
    public async Task A_client_gets_in_unless_its_certificate_was_taken_back_or_the_list_is_old(byte serial, byte revoked, int daysToNextUpdate, bool getsIn)
    {
        WriteList(revoked, Now.AddDays(daysToNextUpdate));
        CriuTls server = MakeIdentity("server", 7, "crl.pem");
        CriuTls client = MakeIdentity("client", serial, list: null);
        Assert.Equal(getsIn, await HandshakeAsync(server, client));
    }

    [Fact]
    public async Task A_server_whose_certificate_was_taken_back_is_not_asked()
    {
        WriteList(7, Now.AddDays(1));
        Assert.False(await HandshakeAsync(MakeIdentity("server", 7, list: null), MakeIdentity("client", 3, "crl.pem")));
    }

    [Fact]
    public void A_list_of_another_authority_refuses_nobody()
    {
        WriteList(3, Now.AddDays(1));
        using RSA key = RSA.Create(2048);
        using X509Certificate2 other = new CertificateRequest("CN=other", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1).CreateSelfSigned(Now.AddDays(-1), Now.AddDays(1));
        Assert.False(Assert.Single(RevocationList.ReadFile(PathOf("crl.pem"))).Refuses(other, Now));
    }

    [Theory]
    [InlineData("nothing of the kind")]
    [InlineData("-----BEGIN X509 CRL-----\nMAMCAQE=\n-----END X509 CRL-----\n")]
    public void A_file_without_a_list_is_refused(string text)
    {
        File.WriteAllText(PathOf("crl.pem"), text);
        Assert.Contains("crl.pem", Assert.Throws<IOException>(() => RevocationList.ReadFile(PathOf("crl.pem"))).Message, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        _authority.Dispose();
        _authorityKey.Dispose();
        Directory.Delete(_directory, recursive: true);
    }

    private string PathOf(string name) => Path.Combine(_directory, name);

    private void WriteList(byte revokedSerial, DateTimeOffset nextUpdate)
    {
        CertificateRevocationListBuilder builder = new();
        builder.AddEntry(SerialOf(revokedSerial), Now.AddDays(-1));
        byte[] list = builder.Build(_authority, 1, nextUpdate, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1, thisUpdate: Now.AddDays(-2));
        File.WriteAllText(PathOf("crl.pem"), PemEncoding.WriteString("X509 CRL", list));
    }

    /// <summary>As certificates have it: a positive number, so that a high first bit needs a zero before it.</summary>
    private static byte[] SerialOf(byte serial) => serial < 0x80 ? [serial] : [0, serial];

    private CriuTls MakeIdentity(string name, byte serial, string? list)
    {
        using RSA key = RSA.Create(2048);
        CertificateRequest request = new($"CN={name}", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        using X509Certificate2 certificate = request.Create(_authority, Now.AddDays(-1), Now.AddDays(1), SerialOf(serial));
        File.WriteAllText(PathOf($"{name}.pem"), certificate.ExportCertificatePem());
        File.WriteAllText(PathOf($"{name}.key"), key.ExportPkcs8PrivateKeyPem());
        return new CriuTls
        {
            CaFile = PathOf("ca.pem"),
            RevocationFile = list is null ? null : PathOf(list),
            CertificateFile = PathOf($"{name}.pem"),
            KeyFile = PathOf($"{name}.key"),
            AcceptAnyName = true,
        };
    }

    /// <summary>A byte there and back: with TLS 1.3 the client's side ends before the server has looked at its certificate.</summary>
    private static async Task<bool> HandshakeAsync(CriuTls server, CriuTls client)
    {
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        Task serving = Task.Run(() =>
        {
            using Socket accepted = listener.AcceptSocket();
            using SslStream stream = server.AsServer(new NetworkStream(accepted, ownsSocket: true));
            int asked = stream.ReadByte();
            // A client that goes away may do so in good order.
            stream.WriteByte(asked < 0 ? throw new IOException("the client asked nothing") : (byte)asked);
        });
        bool answered;
        try
        {
            using TcpClient connection = new();
            await connection.ConnectAsync((IPEndPoint)listener.LocalEndpoint);
            using SslStream stream = client.AsClient(connection.GetStream(), "localhost");
            stream.WriteByte(5);
            answered = stream.ReadByte() == 5;
        }
        catch (IOException)
        {
            answered = false;
        }

        Exception? refused = await Record.ExceptionAsync(() => serving);
        Assert.Equal(answered, refused is null);
        return answered;
    }
}
