using PostCopy.Sessions;
using PostCopy.Wire;

namespace PostCopy.Agent;

/// <summary>
/// Session directories that this agent does not work on: of one that died, of another that is ending, or of a session of its own that came to an unexpected end. They are
/// looked at again and again, for a container may wait for its pages there.
/// </summary>
internal sealed class Unattended(AgentOptions options, Microsoft.Extensions.Logging.ILogger logger)
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMinutes(2);

    private readonly Dictionary<string, Attempt> _attempts = [];

    /// <summary>Takes over those that can be.</summary>
    /// <param name="isAttended">Whether a session of this name is worked on.</param>
    internal IEnumerable<AgentSession> TakeOver(Func<string, bool> isAttended)
    {
        HashSet<string> left = [];
        foreach (string directory in Directory.Exists(options.StateDirectory) ? Directory.GetDirectories(options.StateDirectory, "*" + SessionDirectory.DestinationSuffix) : [])
        {
            if (isAttended(Path.GetFileName(directory)[..^SessionDirectory.DestinationSuffix.Length]))
            {
                continue;
            }

            left.Add(directory);
            Attempt attempt = _attempts.GetValueOrDefault(directory) ?? new Attempt(0, FirstPause, "");
            AgentSession? session = Environment.TickCount64 < attempt.NotBefore ? null : TryTakeOver(directory, ref attempt);
            _attempts[directory] = attempt;
            if (session is not null)
            {
                yield return session;
            }
        }

        foreach (string gone in _attempts.Keys.Except(left).ToArray())
        {
            _attempts.Remove(gone);
        }
    }

    /// <summary>Whether there is a directory of this session, which only this host's agent could say more of.</summary>
    internal bool Has(SessionToken session) => Directory.Exists(Path.Combine(options.StateDirectory, session.Name + SessionDirectory.DestinationSuffix));

    private AgentSession? TryTakeOver(string directory, ref Attempt attempt)
    {
        // Should it end at once, again and again, that must not be all that this agent does.
        TimeSpan pause = attempt.Pause * 2 < LongestPause ? attempt.Pause * 2 : LongestPause;
        string problem = "";
        AgentSession? session = null;
        try
        {
            session = AgentSession.TakeOver(directory, options, logger);
        }
        catch (Exception e) when (e is IOException or Google.Protobuf.InvalidProtocolBufferException or UnauthorizedAccessException)
        {
            problem = e.Message;
            // One that is gone has ended in between.
            if (problem != attempt.Problem && Directory.Exists(directory))
            {
                AgentLog.CannotTakeOver(logger, directory, problem);
            }
        }

        attempt = new Attempt(Environment.TickCount64 + (long)attempt.Pause.TotalMilliseconds, pause, problem);
        return session;
    }

    private sealed record Attempt(long NotBefore, TimeSpan Pause, string Problem);
}
