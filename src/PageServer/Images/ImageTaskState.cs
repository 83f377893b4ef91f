using System.Text.Json.Serialization;

namespace PostCopy.Images;

/// <summary>What a process was doing when it was dumped.</summary>
public enum ImageTaskState
{
    /// <summary>Running or sleeping.</summary>
    [JsonStringEnumMemberName("alive")]
    Alive,

    /// <summary>Stopped by a signal.</summary>
    [JsonStringEnumMemberName("stopped")]
    Stopped,

    /// <summary>Dead and not yet waited for: no memory, no threads.</summary>
    [JsonStringEnumMemberName("zombie")]
    Zombie,
}
