using System.Net;
using PostCopy.Buffers;
using PostCopy.Certificates;
using PostCopy.Tests.Testing;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Agent;

/// <summary>Certificates that are replaced while the agent runs.</summary>
public sealed class RenewalTests : IDisposable
{
    private readonly TlsHosts _hosts = new();
    private readonly PagePool _pool = new();

    [SkippableFact]
    public async Task A_new_certificate_is_in_force_for_the_next_connection_and_a_damaged_one_is_not()
    {
        TlsFiles files = _hosts.Issue("first");
        await using RunningAgent agent = await RunningAgent.StartAsync(options => options.Tls = files);
        Connect(agent, "first");

        await File.WriteAllTextAsync(files.Certificate, "no certificate");
        Touch(files, minutes: 1);
        Connect(agent, "first");

        TlsFiles renewed = _hosts.Issue("second");
        File.Copy(renewed.Certificate, files.Certificate, overwrite: true);
        File.Copy(renewed.Key, files.Key, overwrite: true);
        Touch(files, minutes: 2);
        Connect(agent, "second");
        Assert.Contains("second", Assert.Throws<ProtocolException>(() => Connect(agent, "first")).Message, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        _hosts.Dispose();
        _pool.Dispose();
    }

    private void Connect(RunningAgent agent, string name) => LaneOpening.Dial(
        [agent.EndPoint], LaneRole.Control, SessionToken.Create(), LaneHello.FirstEpoch, agent.Token, _pool, tls: new TlsDialling(_hosts.Identity("source", IPAddress.Loopback), name)).Dispose();

    /// <summary>Two writes may be too close for the file system's clock.</summary>
    private static void Touch(TlsFiles files, int minutes) => File.SetLastWriteTimeUtc(files.Certificate, DateTime.UtcNow.AddMinutes(minutes));
}
