using Google.Protobuf;
using PostCopy.Control.Messages;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Wire;
using PostCopy.Wire;

namespace PostCopy.Tests.Agent;

/// <summary>What a source that knows the token may still not do.</summary>
public sealed class ArrivalTests
{
    public static TheoryData<string, string, string> Refusals => new()
    {
        { "id", "", "the container's id is not one that runc accepts" },
        { "id", "..", "the container's id is not one that runc accepts" },
        { "id", "a/b", "the container's id is not one that runc accepts" },
        { "id", "a b", "the container's id is not one that runc accepts" },
        { "id", "--help", "the container's id is not one that runc accepts" },
        { "id", "ä", "the container's id is not one that runc accepts" },
        { "id", new string('a', 1025), "the container's id is not one that runc accepts" },
        { "bundle", "web", "is not absolute" },
        { "bundle", "/nowhere/at/all", "there is no bundle in /nowhere/at/all here" },
        { "architecture", "Pdp11", "the source's processor is Pdp11" },
        { "config", new string('x', 1 << 19), "the CRIU options have 524288 characters" },
        { "memory", "", "MiB of memory here, this host has" },
    };

    [SkippableTheory]
    [MemberData(nameof(Refusals))]
    public async Task What_cannot_be_taken_is_refused_before_the_source_freezes_anything(string field, string value, string reason)
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        (Peer control, Prepared answer) = agent.Prepare(SessionToken.Create(), container =>
        {
            switch (field)
            {
                case "id":
                    container.ContainerId = value;
                    break;
                case "bundle":
                    container.Bundle = value;
                    break;
                case "architecture":
                    container.Architecture = value;
                    break;
                case "config":
                    container.CriuConfig = value;
                    break;
                default:
                    container.MemoryBytes = 1UL << 60;
                    break;
            }
        });
        using (control)
        {
            Assert.Contains(reason, Assert.Single(answer.Refusals));
            control.Expect(FrameKind.Goodbye);
            control.ExpectEnd();
        }

        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task A_bundle_outside_the_root_is_refused()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        string outside = Directory.CreateDirectory(Path.Combine(Path.GetDirectoryName(agent.Bundles)!, "outside")).FullName;
        File.WriteAllText(Path.Combine(outside, "config.json"), "{}");
        File.CreateSymbolicLink(Path.Combine(agent.Bundles, "link"), outside);
        foreach (string bundle in (string[])[outside, Path.Combine(agent.Bundles, "link"), Path.Combine(agent.Bundles, "web/../../outside")])
        {
            (Peer control, Prepared answer) = agent.Prepare(SessionToken.Create(), container => container.Bundle = bundle);
            control.Dispose();
            Assert.Single(answer.Refusals);
        }

        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task Memory_is_promised_to_what_will_fill_it_and_to_nothing_else()
    {
        // More than half of what there is fits once.
        ulong most = ulong.Parse(File.ReadLines("/proc/meminfo").First(static line => line.StartsWith("MemAvailable:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], System.Globalization.CultureInfo.InvariantCulture) << 10;
        await using RunningAgent agent = await RunningAgent.StartAsync();
        (Peer first, Prepared taken) = agent.Prepare(SessionToken.Create(), container => container.MemoryBytes = most / 10 * 6);
        using (first)
        {
            Assert.Empty(taken.Refusals);
            (Peer second, Prepared refused) = agent.Prepare(SessionToken.Create(), container => container.MemoryBytes = most / 10 * 6);
            second.Dispose();
            Assert.Contains("are for what is arriving already", Assert.Single(refused.Refusals), StringComparison.Ordinal);

            // It will not come any more, although its source is still there.
            first.Send(RunningAgent.Frame(FrameKind.Cancel, new Cancel()));
            first.Expect(FrameKind.NeverRan);
            (Peer third, Prepared fits) = agent.Prepare(SessionToken.Create(), container => container.MemoryBytes = most / 10 * 6);
            third.Dispose();
            Assert.Empty(fits.Refusals);
        }
    }

    public static TheoryData<string, byte[], string> Breaches => new()
    {
        { "noise", "GET / HTTP/1.1\r\n\r\n"u8.ToArray(), "frame header: kind" },
        { "no protobuf", Samples.Frame(FrameKind.ImageChunk, 0, 0xff), "the body of a ImageChunk frame is malformed" },
        { "pages", Samples.Pages(1, 1, 0x1000, true), "a Pages frame has no place here" },
        { "the agent's own words", RunningAgent.Frame(FrameKind.Built, new Built()), "a Built frame came in state Receiving" },
        { "a second Prepare", RunningAgent.Frame(FrameKind.Prepare, new Prepare()), "a Prepare frame came in state Receiving" },
        { "an image elsewhere", Chunk("../../escaped.img"), "a name of 17 characters is not one" },
        { "an image nowhere", Chunk(""), "a name of 0 characters is not one" },
        { "a hidden image", Chunk(".bashrc"), "a name of 7 characters is not one" },
        { "an endless name", Chunk(new string('a', 256)), "a name of 256 characters is not one" },
        { "an image twice", [.. Chunk("a.img"), .. Chunk("b.img"), .. Chunk("a.img")], "'a.img' comes twice" },
        { "wrong sums", [.. Chunk("a.img"), .. RunningAgent.Frame(FrameKind.ImagesDone, new ImagesDone { Files = 2, Bytes = 1 })], "2 files with 1 bytes were sent, 1 with 1 arrived" },
    };

    [SkippableTheory]
    [MemberData(nameof(Breaches))]
    public async Task Whoever_breaks_the_contract_behind_Prepare_is_told_and_dropped(string what, byte[] bytes, string reason)
    {
        Assert.NotEmpty(what);
        await using RunningAgent agent = await RunningAgent.StartAsync();
        (Peer control, Prepared answer) = agent.Prepare(SessionToken.Create());
        using (control)
        {
            Assert.Empty(answer.Refusals);
            Assert.Single(agent.Sessions);
            control.Send(bytes);
            Assert.Contains(reason, control.ExpectRefusal().Text);
        }

        await agent.AssertServesTheNextAsync();
        Assert.Empty(Directory.GetFiles(Path.GetDirectoryName(agent.StateDirectory)!, "escaped.img", SearchOption.AllDirectories));
    }

    [SkippableFact]
    public async Task Images_that_are_none_are_answered_with_never_ran()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        (Peer control, _) = agent.Prepare(SessionToken.Create());
        using (control)
        {
            control.Send([.. Chunk("inventory.img"), .. RunningAgent.Frame(FrameKind.ImagesDone, new ImagesDone { Files = 1, Bytes = 1 })]);
            Assert.NotEmpty(NeverRan.Parser.ParseFrom(control.Expect(FrameKind.NeverRan)).Errors);
            // The same answer for ever.
            control.Send(RunningAgent.Frame(FrameKind.Cancel, new Cancel()));
            control.Expect(FrameKind.NeverRan);
        }

        await agent.AssertServesTheNextAsync();
    }

    /// <summary>CRIU and runc wait for images by then, or will.</summary>
    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_restore_that_was_started_early_is_ended(bool isTold)
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        (Peer control, Prepared answer) = agent.Prepare(SessionToken.Create());
        using (control)
        {
            Assert.True(answer.EarlyRestore);
            control.Send(Samples.Frame(FrameKind.Freezing));
            await TestBed.Condition.WaitAsync(() => agent.Sessions.Any(static session => File.Exists(Path.Combine(session, "images", "inventory.img"))), Peer.Patience, "the restore to be started");
            if (isTold)
            {
                control.Send(RunningAgent.Frame(FrameKind.Cancel, new Cancel()));
                control.Expect(FrameKind.NeverRan);
            }
        }

        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task A_source_that_goes_away_at_any_moment_leaves_nothing()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        agent.Open(LaneRole.Control, SessionToken.Create()).Dispose();
        agent.Prepare(SessionToken.Create()).Control.Dispose();
        (Peer control, _) = agent.Prepare(SessionToken.Create());
        control.Send([.. Chunk("a.img"), .. Samples.Header((ushort)FrameKind.ImageChunk, 1000)]);
        control.Dispose();
        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task A_source_whose_page_lane_closes_is_told_so()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync();
        SessionToken session = SessionToken.Create();
        (Peer control, _) = agent.Prepare(session);
        using (control)
        {
            using Peer demand = agent.Open(LaneRole.Demand, session);
            control.Send(RunningAgent.Frame(FrameKind.Decision, new PostCopy.Control.Messages.Decision { MayRun = false }));
            control.Expect(FrameKind.NeverRan);
        }

        await agent.AssertServesTheNextAsync();
    }

    [SkippableFact]
    public async Task Whoever_says_nothing_is_dropped_at_the_deadline()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync(static options => options.StepDeadline = TimeSpan.FromSeconds(1));
        using Peer control = agent.Open(LaneRole.Control, SessionToken.Create());
        Assert.Equal("control lane: no Prepare came within 1 s", control.ExpectRefusal().Text);
    }

    [SkippableFact]
    public async Task A_keeper_that_dies_before_the_hand_off_ends_the_attempt_and_nothing_is_left()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync(static options => options.KeeperProgram = "/bin/true");
        (Peer control, Prepared answer) = agent.Prepare(SessionToken.Create());
        using (control)
        {
            Assert.Empty(answer.Refusals);
            Assert.Contains("postcopy keeper", Assert.Single(NeverRan.Parser.ParseFrom(control.Expect(FrameKind.NeverRan)).Errors), StringComparison.Ordinal);
        }

        await TestBed.Condition.WaitAsync(() => !agent.Sessions.Any(), Peer.Patience, "the session's directory is removed");
    }

    [SkippableFact]
    public async Task A_keeper_that_cannot_be_started_is_a_refusal()
    {
        await using RunningAgent agent = await RunningAgent.StartAsync(static options => options.KeeperProgram = "/nowhere/postcopy");
        (Peer control, Prepared answer) = agent.Prepare(SessionToken.Create());
        control.Dispose();
        Assert.Contains("/nowhere/postcopy", Assert.Single(answer.Refusals));
        await TestBed.Condition.WaitAsync(() => !agent.Sessions.Any(), Peer.Patience, "the session's directory is removed");
    }

    private static byte[] Chunk(string name) => RunningAgent.Frame(FrameKind.ImageChunk, new ImageChunk { Name = name, Data = ByteString.CopyFromUtf8("x") });
}
