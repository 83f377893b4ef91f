using System.Text.Json.Serialization;

namespace PostCopy.Check;

/// <summary>The sides of a migration that need something.</summary>
[Flags]
[JsonConverter(typeof(JsonStringEnumConverter<MigrationSides>))]
public enum MigrationSides
{
    /// <summary>Neither.</summary>
    [JsonStringEnumMemberName("none")]
    None = 0,

    /// <summary>The host a container leaves.</summary>
    [JsonStringEnumMemberName("source")]
    Source = 1,

    /// <summary>The host it goes to.</summary>
    [JsonStringEnumMemberName("destination")]
    Destination = 2,

    /// <summary>Either host.</summary>
    [JsonStringEnumMemberName("both")]
    Both = Source | Destination,
}
