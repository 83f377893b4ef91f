using PostCopy.Certificates;
using PostCopy.Transport;

namespace PostCopy.Migrate;

/// <summary>What to migrate, where to, and how.</summary>
public sealed record MigrationOptions
{
    /// <summary>Id of the runc container on this host; null to move a process tree.</summary>
    public string? ContainerId { get; init; }

    /// <summary>The root of the process tree on this host to move instead of a container.</summary>
    public int? ProcessId { get; init; }

    /// <summary>Where the destination's agent listens.</summary>
    public required AgentEndpoint Destination { get; init; }

    /// <summary>File with the token that the agent asks for (0600). Defaults to <c>/etc/postcopy/token</c>.</summary>
    public string TokenFile { get; init; } = Defaults.TokenFile;

    /// <summary>Path of the container's bundle on the destination. Defaults to its path on the source.</summary>
    public string? DestinationBundle { get; init; }

    /// <summary>Id of the container on the destination. Defaults to its id on the source.</summary>
    public string? DestinationId { get; init; }

    /// <summary>runc's state directory on this host (<c>runc --root</c>). Defaults to runc's own.</summary>
    public string? RuncRoot { get; init; }

    /// <summary>When the memory travels. Defaults to <see cref="MigrationMode.PostCopy"/>.</summary>
    public MigrationMode Mode { get; init; }

    /// <summary>
    /// Copy memory while the container runs, and freeze it when little is left: far fewer faults then have to wait for this host. Where writes cannot be watched
    /// (Linux before 6.7, an architecture other than x86-64) all memory moves behind the freeze, as without it. Defaults to false.
    /// </summary>
    public bool PreCopy { get; init; }

    /// <summary>Rounds of copying that may be begun before the freeze, 1 or more. Defaults to 20.</summary>
    public int MaxRounds { get; init; } = 20;

    /// <summary>How long copying before the freeze may take, 0 or more. Defaults to five minutes.</summary>
    public TimeSpan MaxPreCopy { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Bytes a second that copying before the freeze may use; 0 for no limit, which is the default.</summary>
    public double MaxPreCopyRate { get; init; }

    /// <summary>
    /// The program that is started as <c>PROGRAM tracker-inject</c> to have processes make what their writes are watched with (<see cref="PreCopy"/>), and to put that away
    /// again where a migration that was killed has left it, which every migration does. Defaults to the running program.
    /// </summary>
    /// <remarks>
    /// A program that embeds migrations begins with <c>if (args is ["tracker-inject"]) return InjectorMain.Run();</c> (docs/sample/HostAgent.cs), or names an installed
    /// postcopy here. One that is started as <c>dotnet app.dll</c> has to do the latter: the running program is <c>dotnet</c> then.
    /// </remarks>
    public string? InjectorProgram { get; init; } = Environment.ProcessPath;

    /// <summary>Which pages the background push sends next. Defaults to <see cref="PrefetchPolicy.Sequential"/>.</summary>
    public PrefetchPolicy Policy { get; init; }

    /// <summary>
    /// Keep this host's idle CPUs awake while pages are owed: a fault then waits a third to a half as long, at the price of power on every idle CPU. Needs
    /// <c>/dev/cpu_dma_latency</c>. Defaults to false.
    /// </summary>
    public bool KeepCpusAwake { get; init; }

    /// <summary>
    /// Join memory into transparent huge pages on the destination, while it arrives and once all of it is there, as far as that takes no more memory; left alone, the kernel
    /// does so in its own time, if at all. Needs Linux 6.7 there. Defaults to false.
    /// </summary>
    public bool Collapse { get; init; }

    /// <summary>Keep established TCP connections (CRIU's <c>--tcp-established</c>). The container's address must move with it.</summary>
    public bool TcpEstablished { get; init; }

    /// <summary>A file with further CRIU options, one long option a line without the dashes; used on both sides.</summary>
    public string? CriuConfigFile { get; init; }

    /// <summary>This host's certificate and whom it trusts: connections are then encrypted, and both ends proved. Null for none.</summary>
    public TlsFiles? Tls { get; init; }

    /// <summary>The name or address that the agent's certificate must have. Defaults to the host in <see cref="Destination"/>.</summary>
    public string? TlsName { get; init; }

    /// <summary>
    /// Have both sides compute a checksum of every frame of pages: what was damaged on the way, in memory for example, is noticed and never installed.
    /// </summary>
    public bool Verify { get; init; }

    /// <summary>Allow a destination beyond this machine although the connection is neither encrypted nor proven by certificates.</summary>
    public bool Insecure { get; init; }

    /// <summary>
    /// TCP congestion control of the page lanes, if the kernel has it; null for the host's default. Defaults to <c>cubic</c>: on a LAN it moves two to
    /// three times what <c>bbr</c> does.
    /// </summary>
    public string? CongestionControl { get; init; } = "cubic";

    /// <summary>Where sessions keep their state, on tmpfs. Defaults to <c>/run/postcopy</c>.</summary>
    public string StateDirectory { get; init; } = Defaults.StateDirectory;

    /// <summary>
    /// How long each step before the hand-off may take before the migration rolls back, more than 0 and at most a day: the destination's checks, CRIU's dump, the images' way,
    /// the restore there, its question. The
    /// destination's agent waits at least as long, up to a day. Defaults to two minutes.
    /// </summary>
    public TimeSpan StepDeadline { get; init; } = TimeSpan.FromMinutes(2);

    /// <exception cref="ArgumentException">Neither a container nor a process is named, or both are.</exception>
    /// <exception cref="ArgumentOutOfRangeException">One of them is beyond its range.</exception>
    internal void RequireSense()
    {
        if (ContainerId is null == ProcessId is null)
        {
            throw new ArgumentException($"either {nameof(ContainerId)} or {nameof(ProcessId)} says what is moved");
        }

        OptionRange.Require(Enum.IsDefined(Mode), Mode, "one of the modes", nameof(Mode));
        OptionRange.Require(Enum.IsDefined(Policy), Policy, "one of the policies", nameof(Policy));
        OptionRange.Require(MaxRounds >= 1, MaxRounds, "1 or more", nameof(MaxRounds));
        OptionRange.Require(MaxPreCopy >= TimeSpan.Zero, MaxPreCopy, "0 or more", nameof(MaxPreCopy));
        OptionRange.Require(MaxPreCopyRate >= 0 && double.IsFinite(MaxPreCopyRate), MaxPreCopyRate, "0 or more bytes a second", nameof(MaxPreCopyRate));
        OptionRange.RequireStepDeadline(StepDeadline, nameof(StepDeadline));
    }
}
