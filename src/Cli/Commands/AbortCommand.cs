using System.CommandLine;
using PostCopy.Display;
using PostCopy.Migrate;
using PostCopy.Transport;

namespace PostCopy.Commands;

/// <summary><c>postcopy abort SESSION</c>, on the source.</summary>
internal static class AbortCommand
{
    internal static Command Create()
    {
        Argument<string> session = new("SESSION") { Description = "The session's name, as postcopy status shows it." };
        Option<bool> dead = new("--destination-is-dead")
        {
            Description = "The destination is lost for good: let the container run here as it was at the freeze. What it did there since is lost. Refused while its agent answers.",
        };
        Option<string> stateDirectory = new("--state-dir")
        {
            Description = "Where sessions keep their state.",
            HelpName = "DIR",
            DefaultValueFactory = static _ => Defaults.StateDirectory,
        };
        Command command = new("abort", """
            End a session that no process works on.

            Before the hand-off, or when the destination gave the container back: it runs here, and what is left of the attempt is put away. After the
            hand-off only one side may ever run it, and that is the destination: refused, unless you say that the destination is lost for good.
            """)
        {
            session, dead, stateDirectory,
        };
        command.SetAction((parsed, _) => RunAsync(parsed.GetRequiredValue(session), Path.GetFullPath(parsed.GetRequiredValue(stateDirectory)), parsed.GetValue(dead)));
        return command;
    }

    private static async Task<int> RunAsync(string session, string stateDirectory, bool destinationIsDead)
    {
        try
        {
            MigrationReport report = await ContainerMigration.AbortAsync(session, stateDirectory, destinationIsDead).ConfigureAwait(false);
            Console.WriteLine(ReportText.Where(report.Outcome));
            foreach (string error in report.Errors)
            {
                await Console.Error.WriteLineAsync($"postcopy: {error}").ConfigureAwait(false);
            }

            return ExitCodes.For(report.Outcome);
        }
        catch (IOException e)
        {
            await Console.Error.WriteLineAsync($"postcopy abort: {e.Message}").ConfigureAwait(false);
            return ExitCodes.Usage;
        }
    }
}
