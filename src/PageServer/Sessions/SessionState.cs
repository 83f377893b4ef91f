using System.Text.Json.Serialization;

namespace PostCopy.Sessions;

/// <summary>Where the right to run is, as one side of a session sees it.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<SessionState>))]
public enum SessionState
{
    /// <summary>The session's files cannot be understood.</summary>
    [JsonStringEnumMemberName("damaged")]
    Damaged,

    /// <summary>On the source: checks, and copying before the freeze. The container runs here.</summary>
    [JsonStringEnumMemberName("preparing")]
    Preparing,

    /// <summary>On the source, and of a page server: the tasks are held, and run nowhere else yet.</summary>
    [JsonStringEnumMemberName("frozen")]
    Frozen,

    /// <summary>On the source: the destination builds its copy, which does not run.</summary>
    [JsonStringEnumMemberName("restoring")]
    Restoring,

    /// <summary>On the source: the destination's copy is complete and waits for the word.</summary>
    [JsonStringEnumMemberName("asked")]
    Asked,

    /// <summary>On the source, and of a page server: the container may run elsewhere; what is frozen here has its pages.</summary>
    [JsonStringEnumMemberName("handed-off")]
    HandedOff,

    /// <summary>On the source: the destination has everything, and the frozen copy is being removed.</summary>
    [JsonStringEnumMemberName("drained")]
    Drained,

    /// <summary>On the source: the container runs here again, and the destination may not run it.</summary>
    [JsonStringEnumMemberName("rolled-back")]
    RolledBack,

    /// <summary>On the destination: images arrive; there is no copy yet.</summary>
    [JsonStringEnumMemberName("receiving")]
    Receiving,

    /// <summary>On the destination: CRIU builds the copy, which does not run.</summary>
    [JsonStringEnumMemberName("building")]
    Building,

    /// <summary>On the destination: the copy is complete and waits for the source's word.</summary>
    [JsonStringEnumMemberName("asking")]
    Asking,

    /// <summary>On the destination: the source has said yes; the copy may have run.</summary>
    [JsonStringEnumMemberName("may-run")]
    MayRun,

    /// <summary>On the destination: the container runs here; pages are owed.</summary>
    [JsonStringEnumMemberName("running")]
    Running,

    /// <summary>On the destination: the container has everything.</summary>
    [JsonStringEnumMemberName("complete")]
    Complete,

    /// <summary>On the destination: there is no copy, and none ever ran.</summary>
    [JsonStringEnumMemberName("never-ran")]
    NeverRan,

    /// <summary>No process works on it, and the right to run has come back to the source.</summary>
    [JsonStringEnumMemberName("returned")]
    Returned,

    /// <summary>On both sides: it has ended.</summary>
    [JsonStringEnumMemberName("done")]
    Done,
}
