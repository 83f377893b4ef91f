using System.Text.Json;
using System.Text.Json.Serialization;

namespace PostCopy.Sessions;

/// <summary>One session on this host, as the process that works on it last described it.</summary>
public sealed record SessionStatus
{
    internal const string Source = "source";
    internal const string Destination = "destination";
    internal const string PageServer = "page-server";

    /// <summary>The session's name, the same on both hosts.</summary>
    public required string Session { get; init; }

    /// <summary><c>source</c>, <c>destination</c>, or <c>page-server</c>: frozen here for whoever fetches its pages from <c>postcopy page-server</c>; <c>unknown</c> when damaged.</summary>
    public required string Role { get; init; }

    /// <summary>The container's id on this host.</summary>
    public required string Container { get; init; }

    /// <summary>The other host, as this one knows it.</summary>
    public string Peer { get; init; } = "";

    /// <summary>Where the right to run is, as this side sees it; <c>damaged</c> when its files cannot be understood.</summary>
    public required string State { get; init; }

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

    /// <summary>A state's name in <see cref="State"/>: in kebab-case, as all words that this program prints for others to read.</summary>
    internal static string NameOf<T>(T state)
        where T : struct, Enum => JsonNamingPolicy.KebabCaseLower.ConvertName(state.ToString());
}

/// <summary>The statuses as JSON.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(SessionStatus))]
[JsonSerializable(typeof(IReadOnlyList<SessionStatus>))]
public sealed partial class SessionStatusJson : JsonSerializerContext;
