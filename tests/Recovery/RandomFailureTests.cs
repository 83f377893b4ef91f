using System.Globalization;
using PostCopy.Tests.TestBed;
using Xunit.Abstractions;

namespace PostCopy.Tests.Recovery;

/// <summary>
/// Something dies, stands still or is cut off at a random moment. Whatever that is: the container ends on exactly one host, with all of its memory, and
/// it never ran twice. The seed is printed; <c>eng/soak.sh failures</c> runs many of these.
/// </summary>
public sealed class RandomFailureTests(ITestOutputHelper output)
{
    /// <summary>Longer than a step's deadline: a CRIU whose tasks were stopped under it may hang, and that is when it is given up.</summary>
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    /// <summary>What can be done to whom: the host, the signal, the pattern of the command line.</summary>
    private static readonly Failure[] Failures =
    [
        new("a", "KILL", "postcopy migrate"),
        new("b", "KILL", "postcopy agent"),
        new("a", "KILL", "runc checkpoint"),
        new("b", "KILL", "runc restore"),
        new("a", "KILL", "criu: dump"),
        new("b", "KILL", "criu: restore"),
        new("a", "KILL", "bin/bash$"),
        new("b", "KILL", "bin/bash$"),
        new("b", "KILL", "postcopy keeper"),
        new("a", "STOP", "criu: dump"),
        new("a", "STOP", "runc checkpoint"),
        new("b", "STOP", "criu: restore"),
        new("b", "STOP", "runc restore"),
        new("a", "STOP", "postcopy migrate"),
        new("b", "STOP", "postcopy agent"),
        new("b", "CUT", ""),
        new("a", "CUT", ""),
        new("b", "RESET", ""),
    ];

    private sealed record Failure(string Host, string Does, string Pattern);

    [SkippableFact]
    public async Task One_container_runs_in_the_end_with_all_of_its_memory()
    {
        Bed.RequirePostCopy();
        int seed = int.TryParse(Environment.GetEnvironmentVariable("POSTCOPY_SEED"), CultureInfo.InvariantCulture, out int given) ? given : Random.Shared.Next();
        double minutes = double.TryParse(Environment.GetEnvironmentVariable("POSTCOPY_SOAK_MINUTES"), CultureInfo.InvariantCulture, out double asked) ? asked : 0.25;
        long end = Environment.TickCount64 + (long)(minutes * 60_000);
        int hits = 0;
        // Who was to be hit may not have begun yet, or have ended: a run that hit nobody shows nothing.
        for (int round = seed; Environment.TickCount64 < end || hits == 0; round++)
        {
            hits += await RoundAsync(round);
        }
    }

    private async Task<int> RoundAsync(int seed)
    {
        Random random = new(seed);
        Failure failure = Failures[random.Next(Failures.Length)];
        int afterMs = random.Next(random.Next(2) == 0 ? 700 : 3000);
        int rate = random.Next(2) == 0 ? 8 : 64;
        output.WriteLine($"seed {seed}: {failure.Does} {failure.Pattern} on {failure.Host} after {afterMs} ms, {rate} MiB/s");
        await using Scene scene = await Scene.StartAsync(mebibytes: 32);
        try
        {
            await scene.LimitRateAsync(rate);
            scene.StartMigration("--step-deadline", "10");
            await scene.WaitForPhaseAsync("freezing");
            await Task.Delay(afterMs);
            int hit = await DisturbAsync(scene, failure);
            output.WriteLine($"  hit {hit}");
            await scene.UnlimitRateAsync();
            await SettleAsync(scene);
            return hit;
        }
        catch (Exception e)
        {
            throw new InvalidOperationException(
                $"seed {seed}: {failure.Does} {failure.Pattern} on {failure.Host} after {afterMs} ms at {rate} MiB/s\n--- migrate:\n{scene.Migration.Process.Error}\n--- agent:\n{scene.Agent.Process.Error}", e);
        }
    }

    private static async Task<int> DisturbAsync(Scene scene, Failure failure)
    {
        LabHost host = scene.Lab[failure.Host];
        switch (failure.Does)
        {
            case "CUT":
                await host.CutAsync();
                await scene.WaitAWhileAsync();
                await host.MendAsync();
                return 1;
            case "RESET":
                await host.RunAsync("ss", "-K", "sport", "=", ":7077");
                return 1;
            case "STOP":
                int stopped = await host.SignalAsync("STOP", failure.Pattern);
                await scene.WaitAWhileAsync();
                await host.SignalAsync("CONT", failure.Pattern);
                return stopped;
            default:
                return await host.SignalAsync(failure.Does, failure.Pattern);
        }
    }

    /// <summary>What an operator, and a service manager, would do; then who has the container is looked up, and it must be whole.</summary>
    private static async Task SettleAsync(Scene scene)
    {
        if (scene.Agent.Process.HasExited)
        {
            await scene.RestartAgentAsync();
        }

        await scene.Migration.Process.WaitAsync(Limit);
        for (int attempt = 0; attempt < 3 && await scene.StatusAsync("a") is { Length: > 0 } left; attempt++)
        {
            await scene.ResumeAsync(left[0].GetProperty("session").GetString()!);
            await scene.Migration.Process.WaitAsync(Limit);
        }

        bool moved = await scene.Walker.Container.StatusOnAsync(scene.Lab["a"]) is null;
        if (moved)
        {
            await scene.ExpectWholeOnDestinationAsync();
        }
        else
        {
            await scene.ExpectRolledBackAsync();
        }
    }
}
