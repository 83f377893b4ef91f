using PostCopy.CriuWire;
using PostCopy.Transport;

namespace PostCopy.LazyPages;

/// <summary>What <c>criu lazy-pages</c> is told, by the same names.</summary>
public sealed class LazyPagesOptions
{
    /// <summary>The image directory (<c>-D</c>). Defaults to the current directory.</summary>
    public string ImagesDirectory { get; set; } = ".";

    /// <summary>Where <c>criu restore</c> looks for the socket (<c>-W</c>). Defaults to <see cref="ImagesDirectory"/>.</summary>
    public string? WorkDirectory { get; set; }

    /// <summary>The server to get the pages from (<c>--page-server</c>); null for the images themselves.</summary>
    public PageServerAddress? PageServer { get; set; }

    /// <summary>
    /// The server's frame size, 24 or 32 bytes; null to recognise it: a dump and its page server are of one CRIU, and the images show its age.
    /// </summary>
    public int? HeaderBytes { get; set; }

    /// <summary>An inherited descriptor that gets one zero byte when <c>criu restore</c> can connect (<c>--status-fd</c>); null for none.</summary>
    public int? StatusDescriptor { get; set; }

    /// <summary>Where the keeper has its directory; on tmpfs. Defaults to <c>/run/postcopy</c>.</summary>
    public string StateDirectory { get; set; } = Defaults.StateDirectory;

    /// <summary>
    /// The program that is started as <c>PROGRAM keeper DIR</c> to hold the userfaultfds, so that tasks wait instead of reading zeroes should the daemon die. Defaults to the
    /// running program.
    /// </summary>
    /// <remarks>
    /// A program that embeds the daemon begins with <c>if (args is ["keeper", var dir]) return KeeperMain.Run(dir);</c> (docs/sample/HostAgent.cs), or names an installed
    /// postcopy here. One that is started as <c>dotnet app.dll</c> has to do the latter: the running program is <c>dotnet</c> then.
    /// </remarks>
    public string? KeeperProgram { get; set; } = Environment.ProcessPath;
}
