using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using PostCopy.Display;
using PostCopy.Sessions;
using PostCopy.Transport;

namespace PostCopy.Commands;

/// <summary><c>postcopy status</c>: the sessions on this host.</summary>
internal static class StatusCommand
{
    internal static Command Create()
    {
        Option<string> stateDirectory = new("--state-dir")
        {
            Description = "Where sessions keep their state.",
            HelpName = "DIR",
            DefaultValueFactory = static _ => Defaults.StateDirectory,
        };
        Option<bool> json = new("--json") { Description = "Print a JSON array." };
        Command command = new("status", "Show this host's sessions, and what they wait for.") { stateDirectory, json };
        command.SetAction(parsed =>
        {
            IReadOnlyList<SessionStatus> sessions = SessionList.Read(Path.GetFullPath(parsed.GetRequiredValue(stateDirectory)));
            if (parsed.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(sessions, SessionStatusJson.Default.IReadOnlyListSessionStatus));
                return;
            }

            if (sessions.Count == 0)
            {
                Console.WriteLine("no sessions");
            }

            foreach (SessionStatus session in sessions)
            {
                Write(session);
            }
        });
        return command;
    }

    private static void Write(SessionStatus session)
    {
        string peer = session.Peer.Length == 0 ? "" : $" {(session.Role == SessionRole.Source ? "to" : "from")} {session.Peer}";
        string process = session.Pid == 0 ? "no process works on it" : string.Create(CultureInfo.InvariantCulture, $"pid {session.Pid}");
        Console.WriteLine($"{session.Session}  {session.Container}{peer}: {KebabWord.Of(session.State)} since {session.Since.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture)}, {process}");
        if (session.PagesTotal > 0)
        {
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"          {session.PagesOwed} of {session.PagesTotal} pages owed"));
        }

        if (session.WaitsFor.Length > 0)
        {
            Console.WriteLine($"          waits for {session.WaitsFor}");
        }
    }
}
