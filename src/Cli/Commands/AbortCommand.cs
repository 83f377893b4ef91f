using System.CommandLine;
using PostCopy.Display;
using PostCopy.Migrate;
using PostCopy.Sessions;
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
        Option<SessionOrder?> sourceIsDead = new("--source-is-dead")
        {
            Description = "On the destination, while pages are owed: the source is lost for good. poison: whoever touches a missing page gets SIGBUS. kill: the container is killed.",
            HelpName = "poison|kill",
        };
        Option<string> stateDirectory = new("--state-dir")
        {
            Description = "Where sessions keep their state.",
            HelpName = "DIR",
            DefaultValueFactory = static _ => Defaults.StateDirectory,
        };
        Command command = new("abort", """
            End a session, on the host where it is in the way.

            Before the hand-off, or when the destination gave the container back: it runs here, and what is left of the attempt is put away. After the
            hand-off only one side may ever run it, and that is the destination: refused, unless you say that the destination is lost for good.

            On the destination: puts away a session that has ended and whose source does not come to hear of it; while pages are owed, see
            --source-is-dead.
            """)
        {
            session, dead, sourceIsDead, stateDirectory,
        };
        command.SetAction((parsed, _) =>
        {
            string name = parsed.GetRequiredValue(session);
            string directory = Path.GetFullPath(parsed.GetRequiredValue(stateDirectory));
            return SessionOrders.IsDestination(directory, name)
                ? Task.FromResult(Order(name, directory, parsed.GetValue(sourceIsDead)))
                : RunAsync(name, directory, parsed.GetValue(dead));
        });
        return command;
    }

    private static int Order(string session, string stateDirectory, SessionOrder? order)
    {
        SessionStatus? status = SessionList.Read(stateDirectory).FirstOrDefault(one => one.Session == session && one.Role == "destination");
        if (status?.State is "Receiving" or "Building" or "Asking")
        {
            Console.Error.WriteLine("postcopy abort: the container has not been handed off: it is the source's to give the attempt up (Ctrl-C there)");
            return ExitCodes.Usage;
        }

        if (order is null && status?.State is not ("Complete" or "NeverRan"))
        {
            Console.Error.WriteLine($"postcopy abort: the container is owed {status?.PagesOwed} pages. Only if their source is lost for good: --source-is-dead poison|kill");
            return ExitCodes.HandedOff;
        }

        SessionOrder holds = SessionOrders.Give(stateDirectory, session, order ?? SessionOrder.Forget);
        Console.WriteLine($"the agent is told: {holds}; postcopy status shows what becomes of it");
        return 0;
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
