using System.Text.Json;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>The source is lost for good: what it took along is said, and what becomes of the tasks is a choice. Zeroes are none.</summary>
[Collection(EndToEndCollection.Name)]
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
        await scene.KillMigrateAsync();
        string session = Assert.Single(await scene.StatusAsync("b")).GetProperty("session").GetString()!;
        CommandResult refused = await scene.Lab["b"].TryAsync(Repository.PostCopy, "abort", session);
        Assert.True(refused.ExitCode == ExitCode.HandedOff && refused.Error.Contains("--source-is-dead", StringComparison.Ordinal), $"{refused}");

        await scene.Lab["b"].RunAsync(Repository.PostCopy, "abort", session, "--source-is-dead", choice);
        await ExpectDeadAsync(scene, choice);
    }

    [SkippableFact]
    public async Task By_the_agents_policy()
    {
        await using Scene scene = await Scene.StartAsync(agentOptions: ["--on-loss", "poison", "--lost-after", "1"]);
        await scene.DrainSlowlyAsync();
        await scene.KillMigrateAsync();
        await ExpectDeadAsync(scene, "poison");
    }

    private static async Task ExpectDeadAsync(Scene scene, string choice)
    {
        // The program touches all of its memory: sooner or later the missing part, which ends it.
        await Condition.WaitAsync(() => scene.Walker.Container.StatusOnAsync(scene.Lab["b"]).GetAwaiter().GetResult() == "stopped", Limit, "the container's end");
        string said = scene.Agent.Process.Error;
        Assert.True(said.Contains("is lost, and with it pages", StringComparison.Ordinal) && said.Contains(choice == "kill" ? "killed" : "SIGBUS", StringComparison.Ordinal), said);
        scene.Walker.AssertNothingBadWasSeen();
        JsonElement session = Assert.Single(await scene.StatusAsync("b"));
        Assert.Equal("Complete", session.GetProperty("state").GetString());
        await scene.Lab["b"].RunAsync(Repository.PostCopy, "abort", session.GetProperty("session").GetString()!);
        await Condition.WaitAsync(() => scene.StatusAsync("b").GetAwaiter().GetResult().Length == 0, Limit, "the session to be put away");
        await scene.Walker.Container.RemoveFromAsync(scene.Lab["b"]);
        await scene.Lab["b"].AssertNothingLeftAsync(except: "process ");
    }
}
