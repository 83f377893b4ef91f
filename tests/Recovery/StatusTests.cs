using System.Text.Json;
using System.Text.Json.Serialization;
using PostCopy.Tests.EndToEnd;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>What <c>postcopy status</c> says, and what <c>postcopy abort</c> does, in each state.</summary>
public sealed class StatusTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    // A name that is missing or not expected is a broken promise to those who read it by machine.
    private static readonly JsonSerializerOptions Format = new(JsonSerializerDefaults.Web)
    {
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        RespectRequiredConstructorParameters = true,
    };

    [SkippableFact]
    public async Task Before_the_hand_off_the_source_decides_and_abort_waits_for_nobody()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.StartHeldAsync("pre-restore");
        Status here = await SingleAsync(scene, "a");
        Status there = await SingleAsync(scene, "b");
        Assert.Equal(("source", "walker", scene.Agent.Endpoint, "restoring", ""), (here.Role, here.Container, here.Peer, here.State, here.WaitsFor));
        Assert.Equal(("destination", "walker", "building", ""), (there.Role, there.Container, there.State, there.WaitsFor));
        Assert.Equal(here.Session, there.Session);
        Assert.True(here.Pid > 0 && there.Pid > 0 && here.PagesTotal > 0 && here.PagesOwed == here.PagesTotal && here.Since > DateTimeOffset.UtcNow.AddHours(-1), $"{here}");

        // CRIU would look only every 100 ms whether its own freeze has worked.
        string[] states = [.. File.ReadLines($"{scene.Lab["a"].Root}/run/postcopy/{here.Session}-source/work/dump.log").Where(static line => line.Contains("freezer.state=", StringComparison.Ordinal))];
        Assert.EndsWith("freezer.state=FROZEN", states[0], StringComparison.Ordinal);

        // A process works on it: that one is to be told.
        AssertSays(await scene.AbortAsync(here.Session), ExitCode.Usage, "another process");
        AssertSays(await scene.AbortAsync(here.Session, "--destination-is-dead"), ExitCode.Usage, "another process");
        AssertSays(await AbortThereAsync(scene, here.Session), ExitCode.Usage, "has not been handed off");
        AssertSays(await AbortThereAsync(scene, here.Session, "--source-is-dead", "kill"), ExitCode.Usage, "has not been handed off");
        AssertSays(await scene.AbortAsync("no-such-session"), ExitCode.Usage, "no session");

        await scene.Migration.Process.SignalAsync("INT");
        await scene.WaitUntilCancelledAsync();
        scene.LetGo();
        (await scene.Migration.WaitAsync()).Expect(ExitCode.RolledBack, "rolled-back");
        await RollBackTests.AssertEndedByItselfAsync(scene.Agent);
        await Condition.WaitAsync(async () => (await scene.StatusAsync("b")).Length == 0, Limit, "the session's end");
        Assert.Empty(await scene.StatusAsync("a"));
        Assert.Equal("no sessions", (await scene.Lab["a"].RunAsync(Repository.PostCopy, "status")).Trim());
        await scene.ExpectRolledBackAsync();
    }

    [SkippableFact]
    public async Task Behind_it_only_the_destination_may_go_on()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        Status here = await SingleAsync(scene, "a");
        Assert.Equal(("handed-off", ""), (here.State, here.WaitsFor));
        AssertSays(await scene.AbortAsync(here.Session), ExitCode.Usage, "another process");
        AssertSays(await AbortThereAsync(scene, here.Session), ExitCode.HandedOff, "--source-is-dead");

        await scene.Lab["b"].RunAsync("ss", "-K", "sport", "=", ":7077");
        await scene.Lab["b"].CutAsync();
        await scene.WaitForPhaseAsync("stalled");
        await Condition.WaitAsync(async () => (await SingleAsync(scene, "a")).WaitsFor.Contains("a connection to", StringComparison.Ordinal), Limit, "the source to say what it waits for");
        await scene.KillMigrateAsync();
        AssertSays(await scene.AbortAsync(here.Session), ExitCode.HandedOff, "--resume");
        await scene.Lab["b"].MendAsync();
        await Condition.WaitAsync(async () => (await SingleAsync(scene, "b")).WaitsFor.Contains("its source", StringComparison.Ordinal), Limit, "the destination to miss its source");

        await scene.KillAgentAsync();
        Status there = await SingleAsync(scene, "b");
        Assert.True(there.Pid == 0 && there.WaitsFor.Contains("an agent on this host", StringComparison.Ordinal), $"{there}");
        await scene.RestartAgentAsync();
        await scene.ResumeAsync(here.Session);
        await scene.ExpectMovedAsync();
    }

    /// <summary>The source dies between the container's end there and the destination's knowing: nobody comes to say so, until somebody aborts.</summary>
    [SkippableFact]
    public async Task A_complete_session_whose_source_does_not_come_is_put_away()
    {
        await using Scene scene = await Scene.StartAsync(mebibytes: 16);
        await scene.DrainSlowlyAsync();
        string session = (await SingleAsync(scene, "a")).Session;
        await scene.KillMigrateAsync();
        await scene.WaitUntilSourceIsMissedAsync();
        await scene.Lab["b"].RunAsync(Repository.PostCopy, "abort", session, "--source-is-dead", "poison");
        await Condition.WaitAsync(async () => (await SingleAsync(scene, "b")).State == "complete", Limit, "the destination to be complete");
        Status there = await SingleAsync(scene, "b");
        Assert.Contains("its source to hear", there.WaitsFor, StringComparison.Ordinal);
        AssertSays(await AbortThereAsync(scene, session), 0, "forget");
        await Condition.WaitAsync(async () => (await scene.StatusAsync("b")).Length == 0, Limit, "the session to be put away");

        // Its source was not dead after all. It hears that nobody knows the session, and does not resume what may have run.
        await scene.ResumeAsync(session);
        await scene.WaitForPhaseAsync("stalled");
        await scene.Migration.Process.SignalAsync("INT");
        (await scene.Migration.WaitAsync()).Expect(ExitCode.HandedOff, "handed-off");
        scene.Walker.AssertNothingBadWasSeen();
    }

    private static void AssertSays(CommandResult result, int exitCode, string text) =>
        Assert.True(result.ExitCode == exitCode && $"{result.Output}{result.Error}".Contains(text, StringComparison.Ordinal), $"{exitCode} and '{text}' were expected: {result}");

    private static Task<CommandResult> AbortThereAsync(Scene scene, params string[] arguments) => scene.Lab["b"].TryAsync([Repository.PostCopy, "abort", .. arguments]);

    private static async Task<Status> SingleAsync(Scene scene, string host) => Assert.Single(await scene.StatusAsync(host)).Deserialize<Status>(Format)!;

    private sealed record Status(
        string Session, string Role, string Container, string Peer, string State, ulong PagesTotal, ulong PagesOwed, string WaitsFor, DateTimeOffset Since, int Pid);
}
