using System.Globalization;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>
/// CRIU or runc stands still: the step's deadline ends the attempt, and the container runs on at the source. Mostly waiting, so beside the tests of single parts.
/// </summary>
public sealed class HangTests
{
    /// <summary>Nothing can be undone without CRIU on the source: as soon as it goes on, it undoes.</summary>
    [SkippableFact]
    public async Task CRIU_on_the_source()
    {
        await using Scene scene = await Scene.StartAsync();
        int criu = await scene.StartHeldAsync("pre-dump", "--step-deadline", "5");
        await SignalAsync(scene.Lab["a"], "STOP", criu);
        scene.LetGo();
        await scene.WaitUntilCancelledAsync();
        await SignalAsync(scene.Lab["a"], "CONT", criu);
        await ExpectLateAsync(scene);
    }

    /// <summary>CRIU waits for runc's word, and undoes when it has it.</summary>
    [SkippableFact]
    public async Task Runc_on_the_source()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.StartHeldAsync("pre-dump", "--step-deadline", "5");
        Assert.Equal(1, await scene.Lab["a"].SignalAsync("STOP", "runc.*checkpoint"));
        scene.LetGo();
        await scene.WaitUntilCancelledAsync();
        await scene.Lab["a"].SignalAsync("CONT", "runc.*checkpoint");
        await ExpectLateAsync(scene);
    }

    /// <summary>What it has built never ran, so it is killed with that.</summary>
    [SkippableFact]
    public async Task CRIU_on_the_destination()
    {
        await using Scene scene = await Scene.StartAsync();
        int criu = await scene.StartHeldAsync("pre-restore", "--step-deadline", "5");
        await SignalAsync(scene.Lab["b"], "STOP", criu);
        scene.LetGo();
        await ExpectLateAsync(scene);
    }

    [SkippableTheory]
    [InlineData("pre-restore")]
    [InlineData("setup-namespaces")]
    public async Task Runc_on_the_destination(string step)
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.StartHeldAsync(step, "--step-deadline", "5");
        Assert.Equal(1, await scene.Lab["b"].SignalAsync("STOP", "runc.*restore"));
        scene.LetGo();
        await ExpectLateAsync(scene);
    }

    private static async Task ExpectLateAsync(Scene scene)
    {
        MigrationReport report = (await scene.Migration.WaitAsync()).Expect(ExitCode.RolledBack, "rolled-back");
        Assert.Contains(report.Errors, static error => error.Contains("took longer than 5 s", StringComparison.Ordinal));
        await Condition.WaitAsync(async () => (await scene.StatusAsync("b")).Length == 0, TimeSpan.FromSeconds(60), "the destination to put its copy away");
        await scene.ExpectRolledBackAsync();
    }

    private static Task<string> SignalAsync(LabHost host, string signal, int pid) => host.RunAsync("kill", $"-{signal}", pid.ToString(CultureInfo.InvariantCulture));
}
