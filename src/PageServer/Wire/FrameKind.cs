namespace PostCopy.Wire;

/// <summary>What a frame is. The numbers are the wire's: they may be added to, never changed or used again.</summary>
internal enum FrameKind : ushort
{
    // Every lane, while it opens.
    Welcome = 1,
    Hello = 2,
    HelloAck = 3,

    // Every lane, at any time.
    Error = 4,
    Goodbye = 5,

    // Control lane, at any time.
    Heartbeat = 6,
    HeartbeatAck = 7,

    // Control lane: the payload is a protobuf message of Control/control.proto, or empty (Discarded, CheckRequest, Ask, Freezing).
    Prepare = 16,
    Prepared = 17,
    ImageChunk = 18,
    ImagesDone = 19,
    Built = 20,
    Decision = 21,
    Resumed = 22,
    Progress = 23,
    Drained = 24,
    Cancel = 25,
    NeverRan = 26,
    Discarded = 27,
    CheckRequest = 28,
    CheckReport = 29,
    Failed = 30,
    Ask = 31,
    Owed = 32,
    MemoryLost = 33,

    // Control lane, when Prepared has asked for it.
    Freezing = 34,

    // Demand and push lanes.
    PageRequest = 48,
    Pages = 49,
    PushDone = 50,
    Ack = 51,

    // Push lane, before the freeze, when Prepare and Prepared have agreed on pre-copy.
    StagePages = 52,
    StageSync = 53,
    StageAck = 54,
    Valid = 55,
    StageDone = 56,
}
