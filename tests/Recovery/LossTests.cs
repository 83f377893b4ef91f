using System.Text.Json;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>The source is lost for good: what it took along is said, and what becomes of the tasks is a choice. Zeroes are none.</summary>
public sealed class LossTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    [SkippableTheory]
    [InlineData("poison")]
    [InlineData("kill")]
    public async Task By_an_operators_word(string choice)
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        string session = Assert.Single(await scene.StatusAsync("b")).GetProperty("session").GetString()!;
        await scene.KillMigrateAsync();
        await scene.WaitUntilSourceIsMissedAsync();
        CommandResult refused = await scene.Lab["b"].TryAsync(Repository.PostCopy, "abort", session);
        Assert.True(refused.ExitCode == ExitCode.HandedOff && refused.Error.Contains("--source-is-dead", StringComparison.Ordinal), $"{refused}");

        await scene.Lab["b"].RunAsync(Repository.PostCopy, "abort", session, "--source-is-dead", choice);
        await ExpectDeadAsync(scene, choice);
    }

    /// <summary>It does not lose its pages by a word that is not true, nor by one that comes true only later.</summary>
    [SkippableFact]
    public async Task Not_while_the_source_is_there()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        string session = Assert.Single(await scene.StatusAsync("b")).GetProperty("session").GetString()!;
        foreach (string choice in (string[])["poison", "kill"])
        {
            CommandResult refused = await scene.Lab["b"].TryAsync(Repository.PostCopy, "abort", session, "--source-is-dead", choice);
            Assert.True(refused.ExitCode == ExitCode.HandedOff && refused.Error.Contains("it is connected", StringComparison.Ordinal), $"{refused}");
        }

        // As from a command that had looked just before the source came back.
        string order = $"{scene.Lab["b"].Root}/run/postcopy/{session}-destination/loss";
        File.CreateSymbolicLink(order, "Kill");
        await Condition.WaitAsync(() => new FileInfo(order).LinkTarget is null, Limit, "the order to be dropped");
        Assert.Contains("is dropped", scene.Agent.Process.Error, StringComparison.Ordinal);

        await scene.KillAgentAsync();
        CommandResult unknown = await scene.Lab["b"].TryAsync(Repository.PostCopy, "abort", session, "--source-is-dead", "kill");
        Assert.True(unknown.ExitCode == ExitCode.HandedOff && unknown.Error.Contains("no agent works on the session", StringComparison.Ordinal), $"{unknown}");
        await scene.RestartAgentAsync();
        await scene.ExpectMovedAsync();
    }

    [SkippableFact]
    public async Task By_the_agents_policy()
    {
        await using Scene scene = await Scene.StartAsync(agentOptions: ["--on-loss", "poison", "--lost-after", "1"]);
        await scene.DrainSlowlyAsync();
        await scene.KillMigrateAsync();
        await ExpectDeadAsync(scene, "poison");
    }

    /// <summary>As the kernel's out-of-memory killer would: the source's frozen copy, which holds what is owed.</summary>
    [SkippableTheory]
    [InlineData("stall")]
    [InlineData("poison")]
    public async Task By_the_death_of_a_frozen_process(string onLoss)
    {
        await using Scene scene = await Scene.StartAsync(agentOptions: ["--on-loss", onLoss]);
        await scene.DrainSlowlyAsync();
        Assert.True(await TryKillFrozenCopyAsync(scene, looks: 1500), "the frozen process does not end");
        MigrationReport report = (await scene.Migration.WaitAsync()).Expect(ExitCode.Lost, "lost");
        string error = Assert.Single(report.Errors);
        Assert.Contains("has died, and its memory with it", error, StringComparison.Ordinal);
        Assert.Empty(await scene.StatusAsync("a"));
        Assert.Null(await scene.Walker.Container.StatusOnAsync(scene.Lab["a"]));
        await scene.Lab["a"].AssertNothingLeftAsync();

        if (onLoss == "stall")
        {
            JsonElement session = Assert.Single(await scene.StatusAsync("b"));
            Assert.Contains("--source-is-dead", session.GetProperty("waitsFor").GetString(), StringComparison.Ordinal);
            Assert.Equal("running", await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]));
            await scene.Lab["b"].RunAsync(Repository.PostCopy, "abort", session.GetProperty("session").GetString()!, "--source-is-dead", "poison");
        }

        await ExpectGoneAsync(scene);
    }

    /// <summary>It dies while nobody works on the session: whoever takes over finds out.</summary>
    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task By_the_death_of_a_frozen_process_that_nobody_serves(bool resume)
    {
        // A task that cgroup v1's freezer has got hold of dies of a SIGKILL only when it is thawed; one that CRIU had stopped before mostly dies at once. Where the first is the
        // case there is nothing to see, and another one is tried.
        for (int attempt = 1; !await DiesUnservedAsync(resume); attempt++)
        {
            Assert.True(attempt < 8, "the frozen process never ended");
        }
    }

    private static async Task<bool> DiesUnservedAsync(bool resume)
    {
        await using Scene scene = await Scene.StartAsync(agentOptions: ["--on-loss", "kill"]);
        await scene.DrainSlowlyAsync();
        string session = Assert.Single(await scene.StatusAsync("a")).GetProperty("session").GetString()!;
        await scene.KillMigrateAsync();
        if (!await TryKillFrozenCopyAsync(scene, looks: 20))
        {
            // It would wait for the source when it is asked to stop.
            await scene.KillAgentAsync();
            return false;
        }

        CommandResult end = resume ? await scene.Lab["a"].TryAsync(Repository.PostCopy, "migrate", "--resume", session) : await scene.AbortAsync(session);
        Assert.True(end.ExitCode == ExitCode.Lost && end.Error.Contains("has died, and its memory with it", StringComparison.Ordinal), $"{end}");
        Assert.Empty(await scene.StatusAsync("a"));
        await scene.Lab["a"].AssertNothingLeftAsync();
        await ExpectGoneAsync(scene);
        return true;
    }

    private static async Task<bool> TryKillFrozenCopyAsync(Scene scene, int looks)
    {
        await scene.Lab["a"].RunAsync("runc", "kill", "walker", "KILL");
        // With the freezer of cgroup v1 the signal takes effect at the thaw. CRIU holds the tasks all the same.
        for (int look = 0; look < looks; look++)
        {
            if ((await scene.Lab["a"].TryAsync("sh", "-c", "runc resume walker 2>/dev/null; ps -eo stat=,comm= | grep walker | grep -qv '^Z'")).ExitCode != 0)
            {
                return true;
            }

            await Task.Delay(20);
        }

        return false;
    }

    /// <summary>The program on the destination ended of what was lost; the session ends by itself, since nobody will come to hear of it.</summary>
    private static async Task ExpectGoneAsync(Scene scene)
    {
        await Condition.WaitAsync(async () => await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]) == "stopped", Limit, "the container's end");
        await Condition.WaitAsync(async () => (await scene.StatusAsync("b")).Length == 0, Limit, "the session's end");
        Assert.Contains("is lost, and with it pages", scene.Agent.Process.Error, StringComparison.Ordinal);
        scene.Walker.AssertNothingBadWasSeen();
        await scene.Walker.Container.RemoveFromAsync(scene.Lab["b"]);
        await scene.Lab["b"].AssertNothingLeftAsync(except: "process ");
    }

    private static async Task ExpectDeadAsync(Scene scene, string choice)
    {
        // The program touches all of its memory: sooner or later the missing part, which ends it.
        await Condition.WaitAsync(async () => await scene.Walker.Container.StatusOnAsync(scene.Lab["b"]) == "stopped", Limit, "the container's end");
        string said = scene.Agent.Process.Error;
        Assert.True(said.Contains("is lost, and with it pages", StringComparison.Ordinal) && said.Contains(choice == "kill" ? "killed" : "SIGBUS", StringComparison.Ordinal), said);
        scene.Walker.AssertNothingBadWasSeen();
        JsonElement session = default;
        await Condition.WaitAsync(
            async () => (session = Assert.Single(await scene.StatusAsync("b"))).GetProperty("state").GetString() == "complete", Limit, "nothing to be owed any more");
        await scene.Lab["b"].RunAsync(Repository.PostCopy, "abort", session.GetProperty("session").GetString()!);
        await Condition.WaitAsync(async () => (await scene.StatusAsync("b")).Length == 0, Limit, "the session to be put away");
        await scene.Walker.Container.RemoveFromAsync(scene.Lab["b"]);
        await scene.Lab["b"].AssertNothingLeftAsync(except: "process ");
    }
}
