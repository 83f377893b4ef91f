using System.Text.Json.Serialization;

namespace PostCopy.Check;

/// <summary>How a trial ended.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<HostCheckResult>))]
public enum HostCheckResult
{
    /// <summary>It works.</summary>
    [JsonStringEnumMemberName("ok")]
    Ok = 0,

    /// <summary>Migrations work without it, but less well, or not all of them.</summary>
    [JsonStringEnumMemberName("degraded")]
    Degraded = 1,

    /// <summary>No migration can work without it.</summary>
    [JsonStringEnumMemberName("missing")]
    Missing = 2,
}
