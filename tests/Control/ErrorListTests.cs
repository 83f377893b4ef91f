using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Wire;

namespace PostCopy.Tests.Control;

public sealed class ErrorListTests
{
    [Fact]
    public void The_first_and_the_latest_are_kept_and_the_others_counted()
    {
        ErrorList errors = new();
        Assert.Equal(0, errors.Count);
        errors.AddRange(Enumerable.Range(0, 1000).Select(static i => $"{i}"));
        string[] all = [.. errors];
        Assert.Equal(errors.Count, all.Length);
        Assert.Equal(Enumerable.Range(0, ErrorList.KeptOfEach).Select(static i => $"{i}"), all[..ErrorList.KeptOfEach]);
        Assert.Equal($"({1000 - (2 * ErrorList.KeptOfEach)} more messages, left out here)", all[ErrorList.KeptOfEach]);
        Assert.Equal(Enumerable.Range(1000 - ErrorList.KeptOfEach, ErrorList.KeptOfEach).Select(static i => $"{i}"), all[^ErrorList.KeptOfEach..]);
    }

    [Fact]
    public void However_long_a_message_with_all_of_them_can_be_sent()
    {
        ErrorList errors = new();
        errors.AddRange(Enumerable.Repeat(new string('\u4e16', 100_000), 1000));
        NeverRan message = new();
        message.Errors.AddRange(errors);
        Assert.InRange(message.CalculateSize(), 1, ProtocolLimits.MaxControlPayloadBytes);
    }
}
