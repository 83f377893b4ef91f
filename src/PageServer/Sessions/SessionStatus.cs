using System.Text.Json.Serialization;

namespace PostCopy.Sessions;

/// <summary>One session on this host, as the process that works on it last described it.</summary>
public sealed record SessionStatus
{
    /// <summary>The one thing that a destination waits for while its source is connected (<see cref="WaitsFor"/>).</summary>
    internal const string Memory = "memory: the container's memory cgroup is full, or this host; the push is paused and tasks wait for their pages";

    /// <summary>The session's name, the same on both hosts.</summary>
    public required string Session { get; init; }

    /// <summary>What this host is to it.</summary>
    public required SessionRole Role { get; init; }

    /// <summary>The container's id on this host.</summary>
    public required string Container { get; init; }

    /// <summary>The other host, as this one knows it.</summary>
    public string Peer { get; init; } = "";

    /// <summary>Where the right to run is, as this side sees it.</summary>
    public required SessionState State { get; init; }

    /// <summary>Pages owed at the freeze; 0 when that is not known yet.</summary>
    public ulong PagesTotal { get; init; }

    /// <summary>Pages the destination still lacks, as last heard.</summary>
    public ulong PagesOwed { get; init; }

    /// <summary>What the session waits for; empty when it works.</summary>
    public string WaitsFor { get; init; } = "";

    /// <summary>Since when this has been so.</summary>
    public DateTimeOffset Since { get; init; }

    /// <summary>The process that works on it; 0 when none does.</summary>
    public int Pid { get; init; }

    /// <summary>A state of either side's hand-off, by the same name.</summary>
    internal static SessionState StateOf<T>(T state)
        where T : struct, Enum => Enum.Parse<SessionState>(state.ToString());
}

/// <summary>The statuses as JSON.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(SessionStatus))]
[JsonSerializable(typeof(IReadOnlyList<SessionStatus>))]
public sealed partial class SessionStatusJson : JsonSerializerContext;
