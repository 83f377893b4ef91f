using System.CommandLine;
using PostCopy.Commands;
using PostCopy.Display;

namespace PostCopy;

internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        RootCommand root = new("""
            Lazy (post-copy) live migration of Linux containers.

            A container is frozen for a moment, restored on the destination at once, and gets its memory while it already runs there: pages it touches
            are fetched on the spot, all others follow in the background.

            Two hosts, three commands:
              on the destination    postcopy agent --listen ADDR:PORT
              on the source         postcopy check --to HOST:PORT
                                    postcopy migrate runc ID --to HOST:PORT
            Beyond one machine first: postcopy certs init, postcopy certs issue HOST, and a copy of the agent's /etc/postcopy/token (docs/security.md).

            Exit codes of migrate, and of abort on the source, say where the container is: 0 moved; 2 usage, not touched (migrate --resume, abort: or no
            such session here, or another process works on it, see postcopy status); 3 this host or pair of hosts cannot, not touched; 10 it runs on the
            source; 20 handed off, pages still owed; 30 lost.
            """)
        {
            CheckCommand.Create(),
            AgentCommand.Create(),
            MigrateCommand.Create(),
            StatusCommand.Create(),
            AbortCommand.Create(),
            LazyPagesCommand.Create(),
            PageServerCommand.Create(),
            CertsCommand.Create(),
            InspectCommand.Create(),
            KeeperCommand.Create(),
            TrackerInjectCommand.Create(),
        };

        ParseResult parsed = root.Parse(args);
        // Signals are handled where the work is done: a migration that is interrupted has something to roll back first.
        InvocationConfiguration configuration = new() { ProcessTerminationTimeout = null, EnableDefaultExceptionHandler = false };
        try
        {
            int exitCode = await parsed.InvokeAsync(configuration).ConfigureAwait(false);
            return parsed.Errors.Count > 0 ? ExitCodes.Usage : exitCode;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Complaint.Write(e.Message);
            return ExitCodes.Failed;
        }
    }
}
