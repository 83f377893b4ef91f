using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace PostCopy.Migrate;

/// <summary>Moves one runc container, or one bare process tree, to another host. The library's front door on the source.</summary>
/// <remarks>
/// <code>
/// MigrationReport report = await new ContainerMigration(new MigrationOptions
/// {
///     ContainerId = "web",
///     Destination = AgentEndpoint.Parse("10.0.0.2:7077"),
///     Tls = TlsFiles.InDirectory(TlsFiles.DefaultDirectory),
/// }).RunAsync(progress, cancellation);
/// </code>
/// Needs root and CRIU on both hosts, runc for containers, and an agent on the destination. The program must be able to be its own injector: see
/// <see cref="MigrationOptions.InjectorProgram"/>.
/// </remarks>
public sealed class ContainerMigration
{
    private readonly MigrationOptions _options;
    private readonly ILogger _logger;

    /// <summary>A migration that has not begun.</summary>
    /// <param name="options">What to migrate, where to, and how.</param>
    /// <param name="logger">Hears of changes of state; null for nobody.</param>
    /// <exception cref="ArgumentException">Neither <see cref="MigrationOptions.ContainerId"/> nor <see cref="MigrationOptions.ProcessId"/> is set, or both are.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An option is beyond its range, which the option says.</exception>
    public ContainerMigration(MigrationOptions options, ILogger<ContainerMigration>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.RequireSense();
        _options = options;
        _logger = logger ?? NullLogger<ContainerMigration>.Instance;
    }

    /// <summary>
    /// Goes on with a migration whose process has died, or that its user left while it was stalled: serves the pages that are still owed, finishes a
    /// roll-back, or removes what is left, as its records say. Throws <see cref="IOException"/> when there is no such session here, or another process
    /// works on it.
    /// </summary>
    /// <param name="session">The session's name, as reports and <c>postcopy status</c> show it.</param>
    /// <param name="stateDirectory">Where sessions keep their state.</param>
    /// <param name="progress">As for <see cref="RunAsync"/>.</param>
    /// <param name="logger">Hears of changes of state; null for nobody.</param>
    /// <param name="leave">Ends the waiting for a destination that cannot be reached; nothing else.</param>
    public static async Task<MigrationReport> ResumeAsync(
        string session, string stateDirectory, IProgress<MigrationProgress>? progress = null, ILogger<ContainerMigration>? logger = null, CancellationToken leave = default)
    {
        using MigrationRun run = MigrationRun.TakeOver(session, stateDirectory, logger ?? NullLogger<ContainerMigration>.Instance, progress);
        return await run.ResumeAsync(leave).ConfigureAwait(false);
    }

    /// <summary>
    /// Ends a migration that was begun here and has no process any more. One that was rolled back is put away. One that was handed off is refused, unless
    /// <paramref name="destinationIsDead"/>: then the container runs here as it was at the freeze, and the session can never be served again. Refused as
    /// well when the destination's agent answers. Throws as <see cref="ResumeAsync"/>.
    /// </summary>
    /// <param name="session">The session's name, as reports and <c>postcopy status</c> show it.</param>
    /// <param name="stateDirectory">Where sessions keep their state.</param>
    /// <param name="destinationIsDead">The destination is lost for good.</param>
    /// <param name="logger">Hears of changes of state; null for nobody.</param>
    /// <param name="cancellation">Until it is decided that the container runs here, cancelling changes nothing: the session stays as it was. From then on it does nothing.</param>
    public static async Task<MigrationReport> AbortAsync(
        string session, string stateDirectory, bool destinationIsDead, ILogger<ContainerMigration>? logger = null, CancellationToken cancellation = default)
    {
        using MigrationRun run = MigrationRun.TakeOver(session, stateDirectory, logger ?? NullLogger<ContainerMigration>.Instance, progress: null);
        return await run.AbortAsync(destinationIsDead, cancellation).ConfigureAwait(false);
    }

    /// <summary>
    /// Runs the migration to its end. Failures are not thrown: the report says where the container is now and what went wrong.
    /// </summary>
    /// <param name="progress">Told at every change of phase and ten times a second while pages are owed.</param>
    /// <param name="cancellation">
    /// Until the hand-off, cancelling rolls back: the container runs on the source. From the hand-off on it is too late, and cancelling does nothing:
    /// the source's memory is the only copy of what the destination still lacks.
    /// </param>
    public async Task<MigrationReport> RunAsync(IProgress<MigrationProgress>? progress = null, CancellationToken cancellation = default)
    {
        using MigrationRun run = new(_options, _logger, progress);
        return await run.RunAsync(cancellation).ConfigureAwait(false);
    }
}
