using Microsoft.Extensions.Logging;
using PostCopy.Certificates;
using PostCopy.Transport;

namespace PostCopy.Agent;

/// <summary>How sources are let in, by files that may be replaced while the agent runs: certificates are short-lived, sessions are not to be.</summary>
internal sealed class RenewedTls(TlsFiles files, TlsAccepting first, ILogger logger)
{
    private readonly Lock _lock = new();
    private TlsAccepting _current = first;
    private (DateTime, DateTime, DateTime) _changed = Changed(files);

    /// <summary>By the files of now. Those that do not do, half replaced for example, are not taken: what was good before goes on.</summary>
    internal TlsAccepting Current
    {
        get
        {
            lock (_lock)
            {
                (DateTime, DateTime, DateTime) changed = Changed(files);
                if (changed != _changed)
                {
                    _changed = changed;
                    try
                    {
                        _current = _current with { Identity = TlsIdentity.Load(files) };
                        AgentLog.Renewed(logger, _current.Identity.Names);
                    }
                    catch (CertificateException e)
                    {
                        AgentLog.NotRenewed(logger, e.Message);
                    }
                }

                return _current;
            }
        }
    }

    private static (DateTime Authority, DateTime Certificate, DateTime Key) Changed(TlsFiles files) =>
        (File.GetLastWriteTimeUtc(files.Authority), File.GetLastWriteTimeUtc(files.Certificate), File.GetLastWriteTimeUtc(files.Key));
}
