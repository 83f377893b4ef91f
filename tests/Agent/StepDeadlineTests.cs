using System.Diagnostics;
using Google.Protobuf;
using PostCopy.Control.Messages;
using PostCopy.Tests.Testing;
using PostCopy.Wire;

namespace PostCopy.Tests.Agent;

/// <summary>How long the agent waits for each step before the hand-off: as its own user says, and as the source asks if that is longer.</summary>
public sealed class StepDeadlineTests
{
    private static readonly TimeSpan OfTheAgent = TimeSpan.FromSeconds(3);

    [SkippableTheory]
    [InlineData(0, 3)]
    [InlineData(1, 3)]
    [InlineData(5, 5)]
    public async Task The_longer_one_of_both_sides_holds(int asked, int holds)
    {
        await using RunningAgent agent = await RunningAgent.StartAsync(static options => options.StepDeadline = OfTheAgent);
        (Peer control, Prepared answer) = agent.Prepare(SessionToken.Create(), container => container.StepDeadlineMs = (ulong)asked * 1000);
        using (control)
        {
            Assert.Empty(answer.Refusals);
            Assert.Equal($"what the source does before the freeze took longer than {holds} s", ErrorOf(control));
        }

        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task Each_step_has_its_own()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync(static options => options.StepDeadline = OfTheAgent);
        (Peer control, _) = agent.Prepare(SessionToken.Create());
        using (control)
        {
            // Part of one step's time, which the next one does not lack.
            await Task.Delay(OfTheAgent / 3);
            control.Send(RunningAgent.Frame(FrameKind.ImageChunk, new ImageChunk { Name = "inventory.img", Data = ByteString.CopyFromUtf8("x") }));
            Stopwatch sinceThen = Stopwatch.StartNew();
            Assert.Equal("receiving the images took longer than 3 s", ErrorOf(control));
            Assert.True(sinceThen.Elapsed > OfTheAgent * 0.9, $"{sinceThen.Elapsed} for the images");
        }

        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task No_number_is_too_large()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        (Peer control, Prepared answer) = agent.Prepare(SessionToken.Create(), static container => container.StepDeadlineMs = ulong.MaxValue);
        using (control)
        {
            Assert.Empty(answer.Refusals);
            control.Send(RunningAgent.Frame(FrameKind.Cancel, new Cancel()));
            Assert.Empty(NeverRan.Parser.ParseFrom(control.Expect(FrameKind.NeverRan)).Errors);
        }

        await agent.AssertServesTheNextAsync();
    }

    private static string ErrorOf(Peer control) => Assert.Single(NeverRan.Parser.ParseFrom(control.Expect(FrameKind.NeverRan)).Errors);
}
