using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using PostCopy.Wire;

namespace PostCopy.Perf.Support;

/// <summary>The least that encrypted bytes cost in .NET: one thread writes a buffer into an SslStream again and again, one reads it.</summary>
internal sealed class BareTls : IDisposable
{
    private const int ChunkBytes = 1 << 20;

    private readonly SslStream _source;
    private readonly SslStream _target;
    private readonly byte[] _sent = GC.AllocateArray<byte>(ChunkBytes, pinned: true);
    private readonly byte[] _received = GC.AllocateArray<byte>(ChunkBytes, pinned: true);

    internal BareTls(LoopbackTls tls)
    {
        Random.Shared.NextBytes(_sent);
        (Socket source, Socket target) = LoopbackLanes.ConnectSockets(LaneRole.Push);
        _source = new SslStream(new NetworkStream(source, ownsSocket: true));
        _target = new SslStream(new NetworkStream(target, ownsSocket: true));
        Task accepting = Task.Run(() => _target.AuthenticateAsServer(new SslServerAuthenticationOptions
        {
            EnabledSslProtocols = SslProtocols.Tls13,
            ServerCertificateContext = tls.Target.Identity.Certificate,
            ClientCertificateRequired = true,
            CertificateChainPolicy = tls.Target.Identity.SourcePolicy,
        }));
        _source.AuthenticateAsClient(new SslClientAuthenticationOptions
        {
            TargetHost = tls.Source.Host,
            EnabledSslProtocols = SslProtocols.Tls13,
            ClientCertificateContext = tls.Source.Identity.Certificate,
            CertificateChainPolicy = tls.Source.Identity.AgentPolicy,
        });
        accepting.GetAwaiter().GetResult();
    }

    /// <summary>Returns when all bytes have been read, and were found to be those that were written.</summary>
    internal void Move(long bytes)
    {
        Thread writing = new(() =>
        {
            for (long left = bytes; left > 0; left -= ChunkBytes)
            {
                _source.Write(_sent, 0, (int)Math.Min(left, ChunkBytes));
            }
        });
        writing.Start();
        for (long left = bytes; left > 0; left -= ChunkBytes)
        {
            _target.ReadExactly(_received, 0, (int)Math.Min(left, ChunkBytes));
        }

        writing.Join();
        Assert.Equal(_sent, _received);
    }

    public void Dispose()
    {
        _source.Dispose();
        _target.Dispose();
    }
}
