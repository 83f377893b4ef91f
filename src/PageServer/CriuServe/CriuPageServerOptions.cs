using PostCopy.CriuWire;
using PostCopy.Transport;

namespace PostCopy.CriuServe;

/// <summary>What <c>criu page-server --lazy-pages</c> is told, by the same names, and whether the pages come from a dump of ours.</summary>
public sealed class CriuPageServerOptions
{
    /// <summary>The image directory (<c>-D</c>). Defaults to the current directory. A dump writes its images there.</summary>
    public string ImagesDirectory { get; set; } = ".";

    /// <summary>Where a dump's logs go (<c>-W</c>). Defaults to <see cref="ImagesDirectory"/>.</summary>
    public string? WorkDirectory { get; set; }

    /// <summary>
    /// The address to listen on (<c>--address</c>), IPv4 or IPv6. Defaults to 127.0.0.1; CRIU's default is every address, where whoever can connect
    /// reads the memory.
    /// </summary>
    public string Address { get; set; } = "127.0.0.1";

    /// <summary>The TCP port (<c>--port</c>); 0 lets the kernel choose.</summary>
    public int Port { get; set; }

    /// <summary>
    /// An inherited stream socket that is connected to the one client to serve (<c>--ps-socket</c>); null to listen on <see cref="Address"/>.
    /// </summary>
    public int? ClientDescriptor { get; set; }

    /// <summary>How to encrypt (<c>--tls</c>); null for not at all.</summary>
    public CriuTls? Tls { get; set; }

    /// <summary>An inherited descriptor that gets one zero byte when clients can connect (<c>--status-fd</c>); null for none.</summary>
    public int? StatusDescriptor { get; set; }

    /// <summary>What to freeze and dump lazily first, to serve the pages from its processes; null to serve the pages in the images.</summary>
    public DumpRequest? Dump { get; set; }

    /// <summary>
    /// A dump whose page server has died after a client had asked for a page, by the name that server gave it: to decide about its frozen tasks, and to
    /// serve them until then. Null for none.
    /// </summary>
    public string? ResumedSession { get; set; }

    /// <summary>
    /// How long a client may be connected without asking for a page; then it is reset, so that those who say nothing cannot shut others out. Both lazy-pages
    /// daemons connect when a restore is under way: its tasks touch their memory within seconds.
    /// </summary>
    internal TimeSpan TimeToFirstRequest { get; set; } = TimeSpan.FromMinutes(2);

    /// <summary>Connections at a time; further ones are closed. Defaults to 256. Of a dump's clients only one is served.</summary>
    public int MaxSessions { get; set; } = 256;

    /// <summary>Where a dump keeps its state; on tmpfs. Defaults to /run/postcopy.</summary>
    public string StateDirectory { get; set; } = Defaults.StateDirectory;
}
