using PostCopy.HandOff;

namespace PostCopy.Sessions;

/// <summary>The sessions on this host, read from their directories.</summary>
public static class SessionList
{
    private const string StatusFile = "status.json";

    internal static void Write(string directory, SessionStatus status) =>
        SessionFile.Write(Path.Combine(directory, StatusFile), status, SessionStatusJson.Default.SessionStatus);

    /// <summary>All sessions below a state directory, the oldest first.</summary>
    public static IReadOnlyList<SessionStatus> Read(string stateDirectory)
    {
        List<SessionStatus> found = [];
        foreach (string directory in Directory.Exists(stateDirectory) ? Directory.GetDirectories(stateDirectory, "*-*") : [])
        {
            try
            {
                if (SessionFile.TryRead(Path.Combine(directory, StatusFile), SessionStatusJson.Default.SessionStatus) is { } status)
                {
                    found.Add(IsWorkedOn(directory) ? status : WithoutProcess(directory, status));
                }
            }
            catch (DirectoryNotFoundException)
            {
                // It ended in between.
            }
            catch (IOException e)
            {
                found.Add(Damaged(directory, e.Message));
            }
        }

        return [.. found.OrderBy(static status => status.Since)];
    }

    private static bool IsWorkedOn(string directory)
    {
        using FileStream? free = SessionLock.TryTake(directory);
        return free is null;
    }

    private static SessionStatus Damaged(string directory, string reason) => new()
    {
        Session = Path.GetFileName(directory),
        Role = SessionRole.Unknown,
        Container = "?",
        State = SessionState.Damaged,
        WaitsFor = $"somebody to look at it: {reason}",
        Since = Directory.GetLastWriteTimeUtc(directory),
    };

    private static SessionStatus WithoutProcess(string directory, SessionStatus status)
    {
        string? decision = new WriteOnceRecord(Path.Combine(directory, HandOffWords.DecisionName)).Read();
        string here = SuggestedCommand.In(Path.GetDirectoryName(directory)!);
        bool returned = new WriteOnceRecord(Path.Combine(directory, HandOffWords.ReturnedName)).Read() is not null;
        string waitsFor = (status.Role, decision, returned) switch
        {
            (SessionRole.PageServer, HandOffWords.HandedOff, _) => $"a process to serve its pages: postcopy page-server --resume {status.Session} --port PORT{here}",
            (SessionRole.PageServer, _, _) => $"nothing; it runs here. To put away what is left: postcopy page-server --resume {status.Session} --port 0{here}",
            (SessionRole.Source, HandOffWords.HandedOff, false) => $"a process to serve its pages: postcopy migrate --resume {status.Session}{here}",
            (SessionRole.Source, _, _) => $"nothing; the container runs here. To put away what is left of the attempt: postcopy abort {status.Session}{here}",
            _ => "an agent on this host: start it with the same --state-dir",
        };
        return status with { Pid = 0, WaitsFor = waitsFor, State = returned ? SessionState.Returned : status.State };
    }
}
