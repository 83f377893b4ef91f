using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Security.Cryptography.X509Certificates;
using PostCopy.Buffers;
using PostCopy.Certificates;
using PostCopy.Tests.Testing;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Transport;

/// <summary>Lanes with TLS: who gets one, who does not, and that both sides say why.</summary>
public sealed class TlsLaneTests : IDisposable
{
    private const string Agent = "agent.example";
    private const string Source = "source.example";
    private static readonly SessionToken Session = SessionToken.Create();

    private readonly PagePool _pool = new();
    private readonly TlsHosts _hosts = new();
    private readonly TlsHosts _strangers = new();
    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);

    public TlsLaneTests()
    {
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _listener.Listen(16);
    }

    [Theory]
    [InlineData(Agent)]
    [InlineData("127.0.0.1")]
    public async Task Hosts_of_one_authority_get_a_lane(string dialled)
    {
        TlsIdentity agent = _hosts.Identity(Agent, IPAddress.Loopback);
        await AssertLaneAsync(agent, [], new TlsDialling(_hosts.Identity(Source), dialled));
    }

    [Fact]
    public async Task A_host_that_is_allowed_by_name_gets_a_lane() =>
        await AssertLaneAsync(_hosts.Identity(Agent), ["other.example", Source], new TlsDialling(_hosts.Identity(Source), Agent));

    [Fact]
    public async Task Much_data_arrives_as_it_was_in_both_directions()
    {
        (SocketLane dialled, SocketLane accepted) = await PairAsync();
        using (dialled)
        using (accepted)
        {
            byte[] down = new byte[5_000_011];
            byte[] up = new byte[3_000_017];
            new Random(1).NextBytes(down);
            new Random(2).NextBytes(up);
            // Both at once, on each side one thread that reads and one that writes.
            Task[] all =
            [
                SocketLaneTests.Start(() => WriteInPieces(accepted, down)), SocketLaneTests.Start(() => WriteInPieces(dialled, up)),
                SocketLaneTests.Start(() => AssertReads(dialled, down)), SocketLaneTests.Start(() => AssertReads(accepted, up)),
            ];
            await Task.WhenAll(all).WaitAsync(Peer.Patience);
            Assert.True(dialled.BytesReceived >= (ulong)down.Length && dialled.BytesSent >= (ulong)up.Length);
        }
    }

    [Fact]
    public async Task Aborting_ends_a_read_that_waits()
    {
        (SocketLane dialled, SocketLane accepted) = await PairAsync();
        using (dialled)
        using (accepted)
        {
            Task<bool> ended = SocketLaneTests.Start(() =>
            {
                try
                {
                    return dialled.Read().IsCompleted;
                }
                catch (SocketException)
                {
                    return true;
                }
            });
            dialled.Abort();
            Assert.True(await ended.WaitAsync(Peer.Patience));
        }
    }

    [Fact]
    public async Task A_peer_that_goes_away_is_met_as_on_a_bare_socket()
    {
        (SocketLane dialled, SocketLane accepted) = await PairAsync();
        accepted.Dispose();
        using (dialled)
        {
            Assert.True(dialled.Read().IsCompleted);
            Assert.Throws<SocketException>(() =>
            {
                for (int frame = 0; frame < 1000; frame++)
                {
                    dialled.Send(new byte[64 << 10]);
                }
            });
        }
    }

    [Fact]
    public Task An_agent_of_another_authority_is_refused() => AssertRefusedAsync(
        TlsIdentity.Load(_strangers.Issue(Agent) with { Authority = _hosts.Issue("x").Authority }), [], new TlsDialling(_hosts.Identity(Source), Agent), "the agent's certificate (for agent.example) is not signed by an authority that is trusted here", null);

    [Fact]
    public Task Hosts_that_do_not_know_each_other_at_all_refuse_each_other() => AssertRefusedAsync(
        _strangers.Identity(Agent), [], new TlsDialling(_hosts.Identity(Source), Agent), "the agent's certificate (for agent.example) is not signed", "the source's certificate (for source.example) is not signed");

    [Fact]
    public Task A_source_of_another_authority_is_refused() => AssertRefusedAsync(
        _hosts.Identity(Agent), [], new TlsDialling(TlsIdentity.Load(_strangers.Issue(Source) with { Authority = _hosts.Issue("x").Authority }), Agent), null, "is not signed by an authority that is trusted here");

    [Fact]
    public Task An_agent_of_another_name_is_refused() => AssertRefusedAsync(
        _hosts.Identity(Agent), [], new TlsDialling(_hosts.Identity(Source), "another.example"), $"the agent's certificate is for {Agent}, not for another.example", null);

    [Fact]
    public Task A_source_that_is_not_allowed_is_refused() => AssertRefusedAsync(
        _hosts.Identity(Agent), ["another.example"], new TlsDialling(_hosts.Identity(Source), Agent), null, $"the source's certificate is for {Source}, whom this agent does not allow");

    [Fact]
    public Task A_certificate_of_a_hosts_name_alone_does_not_make_an_authority()
    {
        // A host signs a certificate with its own: it is no authority.
        TlsFiles host = _hosts.Issue("host.example");
        string forged = MakeSignedBy(host);
        TlsFiles files = new(host.Authority, forged, forged);
        File.SetUnixFileMode(forged, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        return AssertRefusedAsync(TlsIdentity.Load(files), [], new TlsDialling(_hosts.Identity(Source), Agent), "the agent's certificate (for agent.example) is not", null);
    }

    [Fact]
    public async Task An_expired_certificate_is_refused_on_both_sides()
    {
        TlsFiles expired = _hosts.Issue(Source, lifetime: TimeSpan.FromSeconds(2));
        TlsIdentity source = TlsIdentity.Load(expired);
        TlsIdentity agent = TlsIdentity.Load(_hosts.Issue(Agent, lifetime: TimeSpan.FromSeconds(2)));
        TlsIdentity valid = _hosts.Identity(Agent);
        using X509Certificate2 certificate = X509CertificateLoader.LoadCertificateFromFile(expired.Certificate);
        await TestBed.Condition.WaitAsync(() => certificate.NotAfter < DateTime.Now.AddSeconds(-1), Peer.Patience, "the certificates to expire");
        await AssertRefusedAsync(valid, [], new TlsDialling(source, Agent), null, "the source's certificate (for source.example) has expired on");
        await AssertRefusedAsync(agent, [], new TlsDialling(_hosts.Identity(Source), Agent), "the agent's certificate (for agent.example) has expired on", null);
        Assert.Contains("issue a new one", Assert.Throws<CertificateException>(() => TlsIdentity.Load(expired)).Message);
    }

    [Fact]
    public async Task A_source_without_a_certificate_is_refused_and_hears_why()
    {
        Task<string> refused = RefusalAsync(_hosts.Identity(Agent), []);
        using SslStream bare = new(new NetworkStream(Connect(), ownsSocket: true), false, Anyone);
        await bare.AuthenticateAsClientAsync(new SslClientAuthenticationOptions { TargetHost = Agent, EnabledSslProtocols = SslProtocols.Tls13 });
        byte[] frame = new byte[600];
        int read = await bare.ReadAsync(frame);
        Assert.Equal(FrameKind.Error, FrameHeader.Parse(frame).Kind);
        Assert.Contains("the source showed no certificate", System.Text.Encoding.UTF8.GetString(frame.AsSpan(0, read)));
        Assert.Contains("the source showed no certificate", await refused.WaitAsync(Peer.Patience));
    }

    [Fact]
    public async Task Less_than_TLS_1_3_is_refused()
    {
        Task<string> refused = RefusalAsync(_hosts.Identity(Agent), []);
        using SslStream old = new(new NetworkStream(Connect(), ownsSocket: true), false, Anyone);
        await Assert.ThrowsAnyAsync<Exception>(() => old.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
        {
            TargetHost = Agent,
#pragma warning disable CA5398 // The peer of this test is one that should be refused.
            EnabledSslProtocols = SslProtocols.Tls12,
#pragma warning restore CA5398
            ClientCertificateContext = _hosts.Identity(Source).Certificate,
        }));
        Assert.Contains("no TLS 1.3 connection with the source", await refused.WaitAsync(Peer.Patience));
    }

    [Fact]
    public async Task A_source_that_does_not_encrypt_is_refused_and_hears_why()
    {
        Task<string> refused = RefusalAsync(_hosts.Identity(Agent), []);
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => DialAsync(Tokens.One, null));
        Assert.Contains("accepts encrypted connections only", e.Message);
        Assert.Contains("accepts encrypted connections only", await refused.WaitAsync(Peer.Patience));
    }

    [Fact]
    public async Task An_agent_that_does_not_encrypt_is_refused_and_says_why()
    {
        Task<string> refused = RefusalAsync(null, []);
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => DialAsync(Tokens.One, new TlsDialling(_hosts.Identity(Source), Agent)));
        Assert.Contains("no TLS 1.3 connection with the agent (does it run with certificates?)", e.Message);
        Assert.Contains("the peer begins an encrypted connection", await refused.WaitAsync(Peer.Patience));
    }

    [Fact]
    public async Task A_good_certificate_does_not_replace_the_token()
    {
        Task<string> refused = RefusalAsync(_hosts.Identity(Agent), []);
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => DialAsync(Tokens.Another, new TlsDialling(_hosts.Identity(Source), Agent)));
        Assert.Contains("the token is not the one", e.Message);
        Assert.Contains("the token is not the one", await refused.WaitAsync(Peer.Patience));
    }

    [Fact]
    public async Task Whoever_changes_what_travels_ends_the_lane()
    {
        // A man in the middle that passes the opening and then flips one bit.
        using Socket middle = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        middle.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        middle.Listen(1);
        TlsAccepting tls = new(_hosts.Identity(Agent), []);
        Task<SocketLane> accepting = SocketLaneTests.Start(() => Accept(tls));
        using ManualResetEventSlim tamper = new();
        _ = SocketLaneTests.Start(() => Relay(middle, tamper));
        TlsDialling dialling = new(_hosts.Identity(Source), Agent);
        using SocketLane dialled = await SocketLaneTests.Start(() =>
            LaneOpening.Dial([middle.LocalEndPoint!], LaneRole.Push, Session, 1, Tokens.One, _pool, tls: dialling)).WaitAsync(Peer.Patience);
        using SocketLane accepted = await accepting.WaitAsync(Peer.Patience);
        tamper.Set();
        dialled.Send(new byte[1000]);
        SocketException e = Assert.Throws<SocketException>(() => accepted.Read());
        Assert.StartsWith("TLS: ", e.Message);
    }

    [Theory]
    [InlineData(UnixFileMode.GroupRead)]
    [InlineData(UnixFileMode.OtherRead)]
    public void A_key_that_others_can_read_is_not_used(UnixFileMode more)
    {
        TlsFiles files = _hosts.Issue("x");
        File.SetUnixFileMode(files.Key, UnixFileMode.UserRead | UnixFileMode.UserWrite | more);
        Assert.Contains("chmod 0600", Assert.Throws<CertificateException>(() => TlsIdentity.Load(files)).Message);
    }

    [Fact]
    public void Files_that_do_not_do_are_named()
    {
        TlsFiles files = _hosts.Issue("x");
        TlsFiles other = _hosts.Issue("y");
        Assert.Contains("/none", Assert.Throws<CertificateException>(() => TlsIdentity.Load(files with { Certificate = "/none" })).Message);
        Assert.Contains(files.Certificate, Assert.Throws<CertificateException>(() => TlsIdentity.Load(files with { Key = other.Key })).Message);
        File.WriteAllText(files.Authority, "garbage");
        Assert.Contains(files.Authority, Assert.Throws<CertificateException>(() => TlsIdentity.Load(files)).Message);
        File.WriteAllText(files.Certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        Assert.Contains(files.Certificate, Assert.Throws<CertificateException>(() => TlsIdentity.Load(files with { Authority = other.Authority })).Message);
    }

    public void Dispose()
    {
        _listener.Dispose();
        Assert.Equal(0, _pool.Rented);
        _pool.Dispose();
        _hosts.Dispose();
        _strangers.Dispose();
    }

    /// <summary>Peers in these tests do not care whom they talk to.</summary>
    private static bool Anyone(object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors) => certificate is not null;

    private static void WriteInPieces(SocketLane lane, byte[] bytes)
    {
        int[] sizes = [1, 17, 4096, 16384, 16385, 100_000, 1 << 20];
        for (int at = 0, piece = 0; at < bytes.Length; piece++)
        {
            int size = Math.Min(sizes[piece % sizes.Length], bytes.Length - at);
            bytes.AsSpan(at, size).CopyTo(lane.Output.GetSpan(size));
            lane.Output.Advance(size);
            lane.Flush();
            at += size;
        }
    }

    private static void AssertReads(SocketLane lane, byte[] expected)
    {
        int at = 0;
        while (at < expected.Length)
        {
            System.IO.Pipelines.ReadResult read = lane.Read();
            foreach (ReadOnlyMemory<byte> segment in read.Buffer)
            {
                Assert.True(segment.Span.SequenceEqual(expected.AsSpan(at, segment.Length)), $"bytes from {at} on differ");
                at += segment.Length;
            }

            lane.Input.AdvanceTo(read.Buffer.End);
        }
    }

    private static string MakeSignedBy(TlsFiles host)
    {
        using X509Certificate2 signer = X509Certificate2.CreateFromPemFile(host.Certificate, host.Key);
        using System.Security.Cryptography.ECDsa key = System.Security.Cryptography.ECDsa.Create();
        CertificateRequest request = new($"CN={Agent}", key, System.Security.Cryptography.HashAlgorithmName.SHA256);
        SubjectAlternativeNameBuilder names = new();
        names.AddDnsName(Agent);
        request.CertificateExtensions.Add(names.Build());
        X509SignatureGenerator generator = X509SignatureGenerator.CreateForECDsa(signer.GetECDsaPrivateKey()!);
        using X509Certificate2 forged = request.Create(signer.SubjectName, generator, DateTimeOffset.UtcNow.AddMinutes(-1), DateTimeOffset.UtcNow.AddDays(1), [1, 2, 3]);
        string path = host.Certificate + ".forged";
        File.WriteAllText(path, $"{forged.ExportCertificatePem()}\n{signer.ExportCertificatePem()}\n{key.ExportPkcs8PrivateKeyPem()}\n");
        return path;
    }

    private void Relay(Socket middle, ManualResetEventSlim tamper)
    {
        using Socket fromSource = middle.Accept();
        using Socket toAgent = Connect();
        Task back = SocketLaneTests.Start(() => Pump(toAgent, fromSource, null));
        Pump(fromSource, toAgent, tamper);
        back.GetAwaiter().GetResult();
    }

    private static void Pump(Socket from, Socket to, ManualResetEventSlim? tamper)
    {
        try
        {
            byte[] buffer = new byte[1 << 16];
            int read;
            while ((read = from.Receive(buffer)) > 0)
            {
                if (tamper?.IsSet == true)
                {
                    buffer[read - 1] ^= 1;
                }

                to.Send(buffer.AsSpan(0, read));
            }
        }
        catch (SocketException)
        {
            // One of the ends is done.
        }

        to.Close();
    }

    private Socket Connect()
    {
        Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Connect(_listener.LocalEndPoint!);
        return socket;
    }

    private async Task<(SocketLane Dialled, SocketLane Accepted)> PairAsync()
    {
        TlsAccepting tls = new(_hosts.Identity(Agent), []);
        Task<SocketLane> accepting = SocketLaneTests.Start(() => Accept(tls));
        SocketLane dialled = await DialAsync(Tokens.One, new TlsDialling(_hosts.Identity(Source), Agent));
        return (dialled, await accepting.WaitAsync(Peer.Patience));
    }

    private async Task AssertLaneAsync(TlsIdentity agent, string[] allowed, TlsDialling dialling)
    {
        Task<SocketLane> accepting = SocketLaneTests.Start(() => Accept(new TlsAccepting(agent, allowed)));
        using SocketLane dialled = await DialAsync(Tokens.One, dialling);
        using SocketLane accepted = await accepting.WaitAsync(Peer.Patience);
        Assert.False(dialled.Output.CanGetUnflushedBytes);
    }

    /// <summary>The dialler gets no lane, and each side says why: what it found itself, or what the other one told it.</summary>
    private async Task AssertRefusedAsync(TlsIdentity agent, string[] allowed, TlsDialling dialling, string? dialler, string? listener)
    {
        Task<string> refused = RefusalAsync(agent, allowed);
        ProtocolException e = await Assert.ThrowsAsync<ProtocolException>(() => DialAsync(Tokens.One, dialling));
        string atAgent = await refused.WaitAsync(Peer.Patience);
        Assert.Equal(WireErrorCode.Unauthorized, e.Code);
        Assert.Contains(dialler ?? listener!, e.Message);
        Assert.Contains(listener ?? "the peer says: " + dialler, atAgent);
    }

    private Task<SocketLane> DialAsync(AgentToken token, TlsDialling? tls) => SocketLaneTests
        .Start(() => LaneOpening.Dial([_listener.LocalEndPoint!], LaneRole.Push, Session, 1, token, _pool, tls: tls))
        .WaitAsync(Peer.Patience);

    private SocketLane Accept(TlsAccepting? tls)
    {
        SocketLane lane = new(_listener.Accept(), _pool);
        try
        {
            (LaneHello _, byte[] proof) = LaneOpening.Accept(lane, Tokens.One, tls: tls);
            LaneOpening.Acknowledge(lane, proof);
            return lane;
        }
        catch (ProtocolException e)
        {
            LaneOpening.Refuse(lane, e);
            lane.Dispose();
            throw;
        }
    }

    /// <summary>Why the next connection is refused.</summary>
    private async Task<string> RefusalAsync(TlsIdentity? agent, string[] allowed) =>
        (await Assert.ThrowsAsync<ProtocolException>(() => SocketLaneTests.Start(() => Accept(agent is null ? null : new TlsAccepting(agent, allowed))))).Message;
}
