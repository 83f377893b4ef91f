using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>
/// The container stands still while its images travel, and they can be large where the link is slow: that does not last longer than anybody wants it to.
/// </summary>
public sealed class SlowImagesTests
{
    private const int Mebibytes = 40;

    [SkippableFact]
    public async Task The_sources_deadline_ends_it()
    {
        await using Scene scene = await StartAsync();
        scene.StartMigration("--step-deadline", "10");
        await ExpectRolledBackAsync(scene, "sending the images took longer than 10 s");
    }

    [SkippableFact]
    public async Task The_destination_ends_it()
    {
        await using Scene scene = await StartAsync();
        scene.StartMigration();
        await WaitForAnImageHalfwayAsync(scene);
        await scene.Agent.Process.SignalAsync("TERM");
        await ExpectRolledBackAsync(scene, "the agent on the destination is being stopped");
    }

    [SkippableFact]
    public async Task The_user_ends_it()
    {
        await using Scene scene = await StartAsync();
        scene.StartMigration();
        await WaitForAnImageHalfwayAsync(scene);
        await scene.Migration.Process.SignalAsync("INT");
        await ExpectRolledBackAsync(scene, "cancelled before the hand-off");
    }

    private static async Task<Scene> StartAsync()
    {
        Scene scene = await Scene.StartAsync(mebibytes: 16);
        // A tmpfs travels among the images, and noise does not get smaller there.
        await scene.Lab["a"].RunAsync("runc", "exec", "walker", "busybox", "dd", "if=/dev/urandom", "of=/tmp/noise", "bs=1M", $"count={Mebibytes}");
        await scene.LimitRateAsync(1);
        return scene;
    }

    /// <summary>More than its first chunk has come, and much is missing.</summary>
    private static async Task WaitForAnImageHalfwayAsync(Scene scene)
    {
        await scene.WaitForPhaseAsync("sending images");
        string images = $"{Assert.Single(Directory.GetDirectories($"{scene.Lab["b"].Root}/run/postcopy", "*-destination"))}/images";
        await Condition.WaitAsync(() => Directory.GetFiles(images).Any(static image => new FileInfo(image).Length > 128 << 10), TimeSpan.FromSeconds(60), "a large image to be on its way");
    }

    private static async Task ExpectRolledBackAsync(Scene scene, string reason)
    {
        MigrationReport report = (await scene.Migration.WaitAsync()).Expect(ExitCode.RolledBack, "rolled-back");
        Assert.Contains(report.Errors, error => error.Contains(reason, StringComparison.Ordinal));
        await scene.ExpectRolledBackAsync();
    }
}
