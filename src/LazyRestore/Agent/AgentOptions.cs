using PostCopy.Certificates;
using PostCopy.Staging;
using PostCopy.Transport;

namespace PostCopy.Agent;

/// <summary>How the destination's agent listens and where it keeps things.</summary>
public sealed class AgentOptions
{
    private readonly Lazy<StagingBudget> _staging;

    /// <summary>Everything as it is by default.</summary>
    public AgentOptions() => _staging = new Lazy<StagingBudget>(() => new StagingBudget(StagingLimit));

    /// <summary>Where to listen. Defaults to <c>127.0.0.1:7077</c>.</summary>
    public AgentEndpoint Listen { get; set; } = AgentEndpoint.Parse("127.0.0.1:7077");

    /// <summary>File with the token that sources must know (0600); made with a random token when it does not exist. Defaults to <c>/etc/postcopy/token</c>.</summary>
    public string TokenFile { get; set; } = Defaults.TokenFile;

    /// <summary>Where sessions keep their state, on tmpfs. Defaults to <c>/run/postcopy</c>.</summary>
    public string StateDirectory { get; set; } = Defaults.StateDirectory;

    /// <summary>runc's state directory (<c>runc --root</c>). Defaults to runc's own.</summary>
    public string? RuncRoot { get; set; }

    /// <summary>When set, bundles must lie below this directory; a source that names another is refused.</summary>
    public string? BundleRoot { get; set; }

    /// <summary>This host's certificate and whom it trusts: only encrypted connections are then accepted, from sources that prove who they are. Null for none.</summary>
    public TlsFiles? Tls { get; set; }

    /// <summary>Names of which a source's certificate must have one. When there are none, every certificate of the trusted authorities does.</summary>
    public IList<string> AllowedNames { get; } = [];

    /// <summary>
    /// Listen beyond this machine although the connection is neither encrypted nor proven by certificates. Whoever knows the token can start
    /// processes as root here, and whoever can read the wire can read the containers' memory.
    /// </summary>
    public bool Insecure { get; set; }

    /// <summary>
    /// Keep this host's idle CPUs awake while pages are owed: a fault then waits a third to a half as long, at the price of power on every idle CPU. Needs
    /// <c>/dev/cpu_dma_latency</c>. Defaults to false.
    /// </summary>
    public bool KeepCpusAwake { get; set; }

    /// <summary>Most migrations received at the same time; further ones are refused. 1 or more. Defaults to 64.</summary>
    public int MaxSessions { get; set; } = 64;

    /// <summary>
    /// Bytes of memory that all migrations together may keep here before their freeze. When it is used up, sources stop copying and freeze; 0 takes nothing before the
    /// freeze. Defaults to half of this host's memory.
    /// </summary>
    public long StagingLimit { get; set; } = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 2;

    /// <summary>
    /// The program that is started as <c>PROGRAM keeper DIR</c> to hold a session's userfaultfds, so that tasks wait instead of reading zeroes should the agent die.
    /// Defaults to the running program.
    /// </summary>
    /// <remarks>
    /// A program that embeds the agent begins with <c>if (args is ["keeper", var dir]) return KeeperMain.Run(dir);</c> (docs/sample/HostAgent.cs), or names an installed
    /// postcopy here. One that is started as <c>dotnet app.dll</c> has to do the latter: the running program is <c>dotnet</c> then.
    /// </remarks>
    public string? KeeperProgram { get; set; } = Environment.ProcessPath;

    /// <summary>One for all sessions: made when the first of them asks, by when the limit is set.</summary>
    internal StagingBudget Staging => _staging.Value;

    /// <summary>What becomes of a container whose source stays away for <see cref="LostAfter"/>. Defaults to waiting for ever.</summary>
    public LossPolicy OnLoss { get; set; }

    /// <summary>How long a source may stay away before <see cref="OnLoss"/> applies: more than 0. Defaults to ten minutes.</summary>
    public TimeSpan LostAfter { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>
    /// How long each step before the hand-off may take before the session gives up, more than 0 and at most a day: what comes before the source's freeze, its dump, the images, the restore. A source
    /// that gives its own steps longer is granted that, up to a day. Copying before the freeze, and in stop-copy, takes as long as it takes. Defaults to two
    /// minutes.
    /// </summary>
    public TimeSpan StepDeadline { get; set; } = TimeSpan.FromMinutes(2);

    /// <exception cref="ArgumentOutOfRangeException">One of them is beyond its range.</exception>
    internal void RequireSense()
    {
        OptionRange.Require(MaxSessions >= 1, MaxSessions, "1 or more", nameof(MaxSessions));
        OptionRange.Require(StagingLimit >= 0, StagingLimit, "0 or more bytes", nameof(StagingLimit));
        OptionRange.Require(Enum.IsDefined(OnLoss), OnLoss, "one of the three", nameof(OnLoss));
        OptionRange.Require(LostAfter > TimeSpan.Zero, LostAfter, "more than 0", nameof(LostAfter));
        OptionRange.RequireStepDeadline(StepDeadline, nameof(StepDeadline));
    }
}
