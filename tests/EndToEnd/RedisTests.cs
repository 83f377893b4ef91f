using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd;

/// <summary>A program that is not ours: Redis, listening, with a data set whose digest is known.</summary>
public sealed class RedisTests
{
    private const int Keys = 50_000;
    private const int ValueBytes = 1000;

    [SkippableFact]
    public async Task Redis_keeps_its_data_and_serves_while_its_pages_arrive()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b", "client");
        string bundle = await Bundle.MakeAsync(lab, "redis-bundle", "host", [], "redis-server", "--bind", "0.0.0.0", "--protected-mode", "no",
            "--save", "", "--appendonly", "no", "--enable-debug-command", "yes");
        Container redis = await Container.RunAsync(lab["a"], "redis", bundle);
        await Condition.WaitAsync(() => lab["a"].IsListening(6379), TimeSpan.FromSeconds(20), "redis to listen");
        await RedisAsync(lab["a"], "DEBUG", "POPULATE", $"{Keys}", "key", $"{ValueBytes}");
        string digest = await RedisAsync(lab["a"], "DEBUG", "DIGEST");

        // Asks the destination for one key after another, from before it can answer.
        await using RunningCommand asking = lab["client"].Start("bash", "-c",
            $"for ((i = 0; ; i++)); do redis-cli -h {lab["b"].Address} STRLEN key:$((i * 7919 % {Keys})) 2>/dev/null; done");
        await lab["a"].LimitRateAsync(32);
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        await using (Migration migration = Migration.Start(lab, lab["a"], redis.Id, agent.Endpoint, agent.TokenFile))
        {
            await asking.WaitForOutputAsync(static command => command.Output.Split('\n').Contains($"{ValueBytes}"), TimeSpan.FromSeconds(60));
            Assert.False(migration.Process.HasExited, "it should have served before all of its memory had come");
            await lab["a"].UnlimitRateAsync();
            (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        }

        Assert.Equal(digest, await RedisAsync(lab["b"], "DEBUG", "DIGEST"));
        Assert.Equal($"{Keys}", await RedisAsync(lab["b"], "DBSIZE"));
        Assert.Equal("OK", await RedisAsync(lab["b"], "SET", "written-here", "yes"));
        Assert.False(lab["a"].IsListening(6379), "the source should be gone");

        await asking.DisposeAsync();
        await redis.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }

    private static async Task<string> RedisAsync(LabHost host, params string[] command) =>
        (await host.RunAsync(["redis-cli", .. command])).Trim();
}
