using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace PostCopy.Tests.DropIn;

/// <summary>CRIU's TLS, with certificates on both sides, against CRIU's own.</summary>
public sealed class TlsTests
{
    [SkippableTheory]
    [InlineData(Player.Criu, Player.PostCopy)]
    [InlineData(Player.PostCopy, Player.Criu)]
    [InlineData(Player.PostCopy, Player.PostCopy)]
    public async Task A_program_moves_encrypted(Player server, Player daemon)
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        string[] tls = MakeCertificates(scene.Lab.Shared, scene.PageServer);
        await using ReadyCommand dump = await scene.DumpAsync(server, tls);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(daemon, options: tls);
        (await scene.RestoreAsync()).EnsureSuccess();
        await scene.Program.VerifyAsync();
        (await lazyPages.WaitAsync()).EnsureSuccess();
        (await dump.WaitAsync()).EnsureSuccess();
        await scene.Program.VerifyAsync();
        scene.Program.AssertRanOn();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
    }

    [SkippableFact]
    public async Task Who_has_no_certificate_of_our_authority_gets_nothing()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Tree);
        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy, MakeCertificates(scene.Lab.Shared, scene.PageServer));
        string[] others = MakeCertificates($"{scene.Lab.Shared}/others", scene.PageServer);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy, options: others);
        Assert.NotEqual(0, (await scene.RestoreAsync()).ExitCode);
        Assert.Equal(1, (await lazyPages.WaitAsync()).ExitCode);
        await dump.SignalAsync("TERM");
        Assert.Equal(1, (await dump.WaitAsync()).ExitCode);
        await scene.Program.VerifyAsync();
        scene.Program.AssertRanOn();
        Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
    }

    internal static string[] MakeCertificates(string directory, string address)
    {
        Directory.CreateDirectory(directory);
        DateTimeOffset now = DateTimeOffset.UtcNow;
        using RSA authorityKey = RSA.Create(2048);
        CertificateRequest authorityRequest = new("CN=drop-in test", authorityKey, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        authorityRequest.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        authorityRequest.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        using X509Certificate2 authority = authorityRequest.CreateSelfSigned(now.AddDays(-1), now.AddDays(1));

        using RSA key = RSA.Create(2048);
        CertificateRequest request = new($"CN={address}", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        SubjectAlternativeNameBuilder names = new();
        names.AddIpAddress(IPAddress.Parse(address));
        request.CertificateExtensions.Add(names.Build());
        using X509Certificate2 certificate = request.Create(authority, now.AddDays(-1), now.AddDays(1), [1, 2, 3]);
        File.WriteAllText($"{directory}/ca.pem", authority.ExportCertificatePem());
        File.WriteAllText($"{directory}/cert.pem", certificate.ExportCertificatePem());
        File.WriteAllText($"{directory}/key.pem", key.ExportPkcs8PrivateKeyPem());
        return ["--tls", "--tls-cacert", $"{directory}/ca.pem", "--tls-cert", $"{directory}/cert.pem", "--tls-key", $"{directory}/key.pem", "--tls-no-cn-verify"];
    }
}
