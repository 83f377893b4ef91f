using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd;

/// <summary>CRIU's own page server gives memory to whoever connects, and ends the container on a word: nobody must ever reach it.</summary>
public sealed class CriuPortTests
{
    [SkippableFact]
    public async Task Nobody_reaches_CRIUs_port_in_a_roll_back_and_a_migration()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 32);
        string broken = await Bundle.CopyAsync(lab, walker.Container.Bundle, "bundle-without-program");
        File.Delete($"{broken}/rootfs/bin/walker");
        await using (RunningCommand control = StartRacer(lab, lab["b"]))
        await using (RunningCommand racer = StartRacer(lab, lab["a"]))
        {
            await racer.WaitForOutputAsync(static command => command.Output.Contains("ready", StringComparison.Ordinal), TimeSpan.FromSeconds(10));
            await control.WaitForOutputAsync(static command => command.Output.Contains("ready", StringComparison.Ordinal), TimeSpan.FromSeconds(10));
            await using (RunningAgent agent = await lab["b"].StartAgentAsync())
            {
                (await Migration.RunAsync(lab, lab["a"], walker.Container, agent, "--bundle", broken)).Expect(ExitCode.RolledBack, "rolled-back");
                await walker.WaitUntilItLivesAsync();
                (await Migration.RunAsync(lab, lab["a"], walker.Container, agent)).Expect(ExitCode.Moved, "moved");
            }

            Assert.DoesNotContain("connected", racer.Output, StringComparison.Ordinal);
            // The racer can win: the agent's port was open for seconds on the other host.
            await control.WaitForOutputAsync(static command => command.Output.Contains("connected 7077", StringComparison.Ordinal), TimeSpan.FromSeconds(10));
        }

        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        await walker.Container.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }

    private static RunningCommand StartRacer(Lab lab, LabHost host) => host.Start($"{lab.Programs}/racer");
}
