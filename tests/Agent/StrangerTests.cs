using System.Formats.Asn1;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using PostCopy.Buffers;
using PostCopy.Certificates;
using PostCopy.Tests.Testing;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Agent;

/// <summary>Whoever can reach an agent's port can show it a certificate, and has proved nothing by it.</summary>
public sealed class StrangerTests : IDisposable
{
    private const string SubjectAlternativeName = "2.5.29.17";

    private readonly TlsHosts _hosts = new();
    private readonly PagePool _pool = new();

    [SkippableTheory]
    [InlineData("30078705010203 0405", true)] // An address of five bytes.
    [InlineData("30058703010203", true)] // Of three.
    [InlineData("3003871001", false)] // Of more than there are: OpenSSL ends the handshake.
    [InlineData("04", false)] // Nothing at all.
    public async Task A_certificate_that_cannot_be_read_is_refused_and_ends_nothing(string names, bool isTold)
    {
        await using RunningAgent agent = await RunningAgent.StartAsync(options => options.Tls = _hosts.Issue("agent", null, IPAddress.Loopback));
        byte[] encoded = Convert.FromHexString(names.Replace(" ", "", StringComparison.Ordinal));
        if (isTold)
        {
            Assert.Contains("the source's certificate", Refusal(agent, encoded), StringComparison.Ordinal);
        }
        else
        {
            Assert.Throws<IOException>(() => Refusal(agent, encoded));
        }

        AssertLetsIn(agent);
    }

    [SkippableFact]
    public async Task Names_of_a_stranger_are_shown_as_one_short_line()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync(options => options.Tls = _hosts.Issue("agent", null, IPAddress.Loopback));
        AsnWriter names = new(AsnEncodingRules.DER);
        using (names.PushSequence())
        {
            for (int i = 0; i < 1000; i++)
            {
                names.WriteCharacterString(UniversalTagNumber.IA5String, $"evil{i}\n\u001b[2J{new string('x', 30)}", new Asn1Tag(TagClass.ContextSpecific, 2));
            }
        }

        byte[] encoded = names.Encode();
        string text = Refusal(agent, encoded);
        Assert.Contains("evil0", text, StringComparison.Ordinal);
        using X509Certificate2 certificate = Certificate(encoded);
        using X509Chain chain = new();
        string? verdict = TlsIdentity.JudgeSource(certificate, chain, ["another"]);
        Assert.NotNull(verdict);
        Assert.InRange(verdict.Length, 1, 1000);
        Assert.DoesNotContain(verdict, char.IsControl);
        AssertLetsIn(agent);
    }

    /// <summary>The source's side of it: whoever answers in the agent's place does not end a migration.</summary>
    [Fact]
    public async Task An_agent_whose_certificate_cannot_be_read_is_refused()
    {
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        using X509Certificate2 certificate = Certificate(Convert.FromHexString("30078705010203 0405".Replace(" ", "", StringComparison.Ordinal)));
        Task answering = Task.Run(async () =>
        {
            using SslStream stream = new(new NetworkStream(await listener.AcceptAsync(), ownsSocket: true));
            await stream.AuthenticateAsServerAsync(new SslServerAuthenticationOptions { ServerCertificate = certificate, EnabledSslProtocols = SslProtocols.Tls13 });
            await stream.ReadAtLeastAsync(new byte[1], 1, throwOnEndOfStream: false);
        });
        TlsDialling dialling = new(_hosts.Identity("source"), "127.0.0.1");
        ProtocolException refused = await Assert.ThrowsAsync<ProtocolException>(() => Task.Run(() => LaneOpening.Dial(
            [listener.LocalEndPoint!], LaneRole.Control, SessionToken.Create(), LaneHello.FirstEpoch, Tokens.One, _pool, tls: dialling))).WaitAsync(Peer.Patience);
        Assert.Contains("the agent's certificate", refused.Message, StringComparison.Ordinal);
        await Task.WhenAny(answering).WaitAsync(Peer.Patience);
    }

    [SkippableTheory]
    [InlineData("*.example.com")]
    [InlineData("a b")]
    [InlineData("")]
    public async Task What_is_no_name_cannot_be_allowed(string name)
    {
        PostCopy.Agent.AgentStartException e = await Assert.ThrowsAsync<PostCopy.Agent.AgentStartException>(() => RunningAgent.StartAsync(options =>
        {
            options.Tls = _hosts.Issue("agent");
            options.AllowedNames.Add(name);
        }));
        Assert.Contains($"'{name}'", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_no_name_cannot_be_dialled() => Assert.Contains(
        "'*.example.com'", Assert.Throws<CertificateException>(() => TlsDialling.For(AgentEndpoint.Parse("127.0.0.1:1"), _hosts.Issue("source"), "*.example.com")).Message, StringComparison.Ordinal);

    public void Dispose()
    {
        _hosts.Dispose();
        _pool.Dispose();
    }

    private void AssertLetsIn(RunningAgent agent) => LaneOpening.Dial(
        [agent.EndPoint],
        LaneRole.Control,
        SessionToken.Create(),
        LaneHello.FirstEpoch,
        agent.Token,
        _pool,
        tls: new TlsDialling(_hosts.Identity("source"), "127.0.0.1")).Dispose();

    /// <summary>What the agent says to a certificate with these names.</summary>
    private static string Refusal(RunningAgent agent, byte[] names)
    {
        using X509Certificate2 certificate = Certificate(names);
        using Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = (int)Peer.Patience.TotalMilliseconds };
        socket.Connect(agent.EndPoint);
        using SslStream stream = new(new NetworkStream(socket), false, static (_, certificate, _, _) => certificate is not null);
        stream.AuthenticateAsClient(new SslClientAuthenticationOptions
        {
            TargetHost = "agent",
            EnabledSslProtocols = SslProtocols.Tls13,
            ClientCertificateContext = SslStreamCertificateContext.Create(certificate, null, offline: true),
        });
        byte[] frame = new byte[4096];
        int read = stream.Read(frame);
        Assert.True(read > FrameHeader.Bytes, "the agent said nothing");
        Assert.Equal(FrameKind.Error, FrameHeader.Parse(frame).Kind);
        return System.Text.Encoding.UTF8.GetString(frame.AsSpan(FrameHeader.Bytes + 2, read - FrameHeader.Bytes - 2));
    }

    private static X509Certificate2 Certificate(byte[] names)
    {
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        CertificateRequest request = new("CN=stranger", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509Extension(SubjectAlternativeName, names, critical: false));
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddHours(1));
    }
}
