using PostCopy.Wire;

namespace PostCopy.Tests.Wire;

/// <summary>The numbers that older programs know. A line may be added here, never changed or removed.</summary>
public sealed class FrozenNumbersTests
{
    [Fact]
    public void Of_frame_kinds() => AssertFrozen<FrameKind>("""
        Welcome 1, Hello 2, HelloAck 3, Error 4, Goodbye 5, Heartbeat 6, HeartbeatAck 7,
        Prepare 16, Prepared 17, ImageChunk 18, ImagesDone 19, Built 20, Decision 21, Resumed 22, Progress 23, Drained 24, Cancel 25, NeverRan 26,
        Discarded 27, CheckRequest 28, CheckReport 29, Failed 30, Ask 31, Owed 32, MemoryLost 33, Freezing 34,
        PageRequest 48, Pages 49, PushDone 50, Ack 51, StagePages 52, StageSync 53, StageAck 54, Valid 55, StageDone 56
        """);

    [Fact]
    public void Of_error_codes() => AssertFrozen<WireErrorCode>("""
        ProtocolViolation 1, TooLarge 2, Version 3, Unauthorized 4, PageSize 5, Session 6, Busy 7, Internal 8, Damaged 9, Taken 10
        """);

    [Fact]
    public void Of_lane_roles() => AssertFrozen<LaneRole>("Control 1, Demand 2, Push 3");

    [Fact]
    public void Of_the_rest()
    {
        Assert.Equal(1, ProtocolLimits.Version);
        Assert.Equal((16, 24, 76, 16), (FrameHeader.Bytes, Welcome.Bytes, LaneHello.Bytes, PageRequest.Bytes));
        Assert.Equal(64, PagesFrame.PrefixBytes);
        Assert.Equal("PCPY"u8.ToArray(), BitConverter.GetBytes(Welcome.Magic));
    }

    private static void AssertFrozen<T>(string known)
        where T : struct, Enum
    {
        string[] actual = [.. Enum.GetValues<T>().Select(static value => $"{value} {Convert.ToInt32(value)}").Order(StringComparer.Ordinal)];
        string[] frozen = [.. known.Split([',', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Order(StringComparer.Ordinal)];
        Assert.True(!frozen.Except(actual).Any(), $"changed or gone: {string.Join(", ", frozen.Except(actual))}");
        Assert.True(!actual.Except(frozen).Any(), $"new, add them here: {string.Join(", ", actual.Except(frozen))}");
    }
}
