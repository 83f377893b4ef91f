using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace PostCopy.Migrate;

/// <summary>Moves one runc container to another host. The library's front door on the source.</summary>
/// <remarks>
/// <code>
/// MigrationReport report = await new ContainerMigration(new MigrationOptions
/// {
///     ContainerId = "web",
///     Destination = AgentEndpoint.Parse("10.0.0.2:7077"),
/// }).RunAsync(progress, cancellation);
/// </code>
/// Needs root, CRIU and runc on both hosts, and an agent on the destination.
/// </remarks>
public sealed class ContainerMigration
{
    private readonly MigrationOptions _options;
    private readonly ILogger _logger;

    /// <summary>A migration that has not begun.</summary>
    public ContainerMigration(MigrationOptions options, ILogger<ContainerMigration>? logger = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _logger = logger ?? NullLogger<ContainerMigration>.Instance;
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
