using PostCopy.Certificates;
using PostCopy.Migrate;
using PostCopy.Transport;

namespace PostCopy.Sample;

/// <summary>Moves a container from a program of one's own; compiled with the tests, so that it stays right.</summary>
public static class MoveContainer
{
    /// <summary>Returns true when the container now runs on the other host.</summary>
    public static async Task<bool> MoveAsync(string id, string host, CancellationToken cancellation)
    {
        ContainerMigration migration = new(new MigrationOptions
        {
            ContainerId = id,
            Destination = AgentEndpoint.Parse($"{host}:7077"),
            // As `postcopy certs` made them. The program is started again as `PROGRAM tracker-inject`, which its Main has to expect: see HostAgent.
            Tls = TlsFiles.InDirectory(TlsFiles.DefaultDirectory),
        });
        Progress<MigrationProgress> progress = new(now => Console.WriteLine($"{now.Phase}: {now.PagesRemaining} of {now.PagesTotal} pages owed"));

        // Failures are not thrown: the report says where the container is and why. Cancelling rolls back until the hand-off, and does nothing after it.
        MigrationReport report = await migration.RunAsync(progress, cancellation);
        Console.WriteLine($"{report.Outcome}: it stood still for {report.DowntimeMs} ms; {string.Join("; ", report.Errors)}");
        return report.Outcome == MigrationOutcome.Moved;
    }
}
