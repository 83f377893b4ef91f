using System.Text.Json.Serialization;

namespace PostCopy.Check;

/// <summary>The sides of a migration that need something.</summary>
[Flags]
[JsonConverter(typeof(JsonStringEnumConverter<MigrationSides>))]
public enum MigrationSides
{
    /// <summary>Neither.</summary>
    None = 0,

    /// <summary>The host a container leaves.</summary>
    Source = 1,

    /// <summary>The host it goes to.</summary>
    Destination = 2,

    /// <summary>Either host.</summary>
    Both = Source | Destination,
}
