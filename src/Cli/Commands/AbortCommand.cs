using System.CommandLine;
using PostCopy.Display;
using PostCopy.Migrate;
using PostCopy.Sessions;
using PostCopy.Transport;

namespace PostCopy.Commands;

/// <summary><c>postcopy abort SESSION</c>: on the source for what is left of an attempt, on the destination for what its agent shall do.</summary>
internal static class AbortCommand
{
    internal static Command Create()
    {
        Argument<string> session = new("SESSION") { Description = "The session's name, as postcopy status shows it." };
        Option<bool> destinationIsDead = new("--destination-is-dead")
        {
            Description = "On the source, behind the hand-off: the destination is lost for good. Lets the container run here as it was at the freeze; what it did there since is lost. Refused while its agent answers.",
        };
        Option<string?> sourceIsDead = new("--source-is-dead")
        {
            Description = "On the destination, while pages are owed: the source is lost for good. poison: whoever touches a missing page gets SIGBUS. kill: the container is killed.",
            HelpName = "poison|kill",
        };
        sourceIsDead.AcceptOnlyFromAmong("poison", "kill");
        Option<string> stateDirectory = new("--state-dir")
        {
            Description = "Where sessions keep their state.",
            HelpName = "DIR",
            DefaultValueFactory = static _ => Defaults.StateDirectory,
        };
        Command command = new("abort", "End a session: put away what is left of an attempt, or give up a host that is lost for good.")
        {
            session, destinationIsDead, sourceIsDead, stateDirectory,
        };
        command.SetAction((parsed, cancellation) =>
        {
            string name = parsed.GetRequiredValue(session);
            string directory = Path.GetFullPath(parsed.GetRequiredValue(stateDirectory));
            bool isDestination = SessionList.Read(directory).Any(one => one.Session == name && one.Role == SessionRole.Destination);
            if (parsed.GetResult(isDestination ? destinationIsDead : sourceIsDead) is { Implicit: false })
            {
                Complaint.Write(isDestination
                    ? $"this host is the destination of {name}; {destinationIsDead.Name} is for its source"
                    : $"this host is not the destination of {name}; {sourceIsDead.Name} is for that one");
                return Task.FromResult(ExitCodes.Usage);
            }

            return isDestination
                ? Task.FromResult(Order(name, directory, parsed.GetValue(sourceIsDead) is { } loss ? Enum.Parse<SessionOrder>(loss, ignoreCase: true) : SessionOrder.Forget))
                : RunAsync(name, directory, parsed.GetValue(destinationIsDead), cancellation);
        });
        return command;
    }

    private static int Order(string session, string stateDirectory, SessionOrder order)
    {
        try
        {
            SessionOrder holds = SessionOrders.Give(stateDirectory, session, order);
            Console.WriteLine($"the agent is told: {KebabWord.Of(holds)}; postcopy status shows what becomes of it");
            return 0;
        }
        catch (SessionOrderException e)
        {
            Complaint.Write(e.Message);
            return e.IsHandedOff ? ExitCodes.HandedOff : ExitCodes.Usage;
        }
    }

    private static async Task<int> RunAsync(string session, string stateDirectory, bool destinationIsDead, CancellationToken cancellation)
    {
        MigrationReport report;
        try
        {
            report = await ContainerMigration.AbortAsync(session, stateDirectory, destinationIsDead, cancellation: cancellation).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            Complaint.Write(e.Message);
            return ExitCodes.Usage;
        }

        Complaint.Attempt("the outcome could not be printed", () => Console.WriteLine(ReportText.Where(report.Outcome)));
        Complaint.Write(report.Errors);
        return ExitCodes.For(report.Outcome);
    }
}
