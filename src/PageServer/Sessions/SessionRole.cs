using System.Text.Json.Serialization;

namespace PostCopy.Sessions;

/// <summary>What this host is to a session.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<SessionRole>))]
public enum SessionRole
{
    /// <summary>The session's files cannot be understood.</summary>
    [JsonStringEnumMemberName("unknown")]
    Unknown,

    /// <summary>The container comes from here.</summary>
    [JsonStringEnumMemberName("source")]
    Source,

    /// <summary>The container comes here.</summary>
    [JsonStringEnumMemberName("destination")]
    Destination,

    /// <summary>Frozen here for whoever fetches its pages from <c>postcopy page-server</c>.</summary>
    [JsonStringEnumMemberName("page-server")]
    PageServer,
}
