using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd.Trees;

/// <summary>One agent receives many containers at once, and one to and fro many times.</summary>
public sealed class ManyTests
{
    [SkippableFact]
    public async Task Ten_containers_of_two_hosts_move_at_once_and_those_in_trouble_disturb_nobody()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b", "c");
        await lab["a"].LimitRateAsync(200);
        List<(LabHost From, Walker Walker)> walkers = [];
        async Task StartAsync(string host, int first)
        {
            for (int i = first; i < 10; i += 2)
            {
                Walker walker = await Walker.StartAsync(lab, lab[host], mebibytes: 16, threads: 1, name: $"many-{i}");
                lock (walkers)
                {
                    walkers.Add((lab[host], walker));
                }
            }
        }

        await Task.WhenAll(StartAsync("a", 0), StartAsync("b", 1));

        // One cannot be restored, one's source stands still while it drains.
        Walker broken = await Walker.StartAsync(lab, lab["a"], mebibytes: 16, threads: 1, name: "many-broken");
        string bundle = await Bundle.CopyAsync(lab, broken.Container.Bundle, "bundle-without-program");
        File.Delete($"{bundle}/rootfs/bin/walker");
        Walker stalled = await Walker.StartAsync(lab, lab["a"], mebibytes: 64, threads: 1, name: "many-stalled");

        await using (RunningAgent agent = await lab["c"].StartAgentAsync())
        {
            await using Migration standing = Migration.Start(lab, lab["a"], stalled.Container.Id, agent.Endpoint, agent.TokenFile);
            await standing.WaitUntilItDrainsAsync();
            Assert.Equal(1, await lab["a"].SignalAsync("STOP", "postcopy migrate runc many-stalled"));

            Task<MigrationResult> failing = Migration.RunAsync(lab, lab["a"], broken.Container, agent, "--bundle", bundle);
            MigrationResult[] moved = await Task.WhenAll(walkers.Select(one => Migration.RunAsync(lab, one.From, one.Walker.Container, agent)));
            Assert.All(moved, static result => result.Expect(ExitCode.Moved, "moved"));
            (await failing).Expect(ExitCode.RolledBack, "rolled-back");

            await lab["a"].SignalAsync("CONT", "postcopy migrate runc many-stalled");
            (await standing.WaitAsync()).Expect(ExitCode.Moved, "moved");
        }

        await Task.WhenAll(walkers.Append((From: lab["a"], Walker: stalled)).Select(async one =>
        {
            await one.Walker.VerifyAsync();
            one.Walker.AssertRanOn(one.From.Name, "c");
            await one.Walker.Container.RemoveFromAsync(lab["c"]);
        }));

        await broken.VerifyAsync();
        broken.AssertRanOn("a");
        await broken.Container.RemoveFromAsync(lab["a"]);
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task More_than_an_agent_takes_are_refused_before_the_freeze()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        await lab["a"].LimitRateAsync(16);
        Walker first = await Walker.StartAsync(lab, lab["a"], mebibytes: 32, threads: 1, name: "first");
        Walker second = await Walker.StartAsync(lab, lab["a"], mebibytes: 16, threads: 1, name: "second");
        await using (RunningAgent agent = await lab["b"].StartAgentAsync("--max-sessions", "1"))
        {
            await using Migration migration = Migration.Start(lab, lab["a"], first.Container.Id, agent.Endpoint, agent.TokenFile);
            await migration.WaitUntilItDrainsAsync();
            MigrationResult refused = await Migration.RunAsync(lab, lab["a"], second.Container, agent);
            refused.Expect(ExitCode.Cannot, "refused");
            Assert.Contains("1 session", refused.Error, StringComparison.Ordinal);
            await lab["a"].UnlimitRateAsync();
            (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        }

        second.AssertRanOn("a");
        await first.Container.RemoveFromAsync(lab["b"]);
        await second.Container.RemoveFromAsync(lab["a"]);
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task To_and_fro_again_and_again_leaves_nothing_behind()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b");
        string network = await lab["a"].MakeContainerNetworkAsync("service", "10.77.0.100", connected: true);
        await lab["b"].MakeContainerNetworkAsync("service", "10.77.0.101", connected: true);
        Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes: 16, network: network);
        List<string> visited = ["a"];
        await using (RunningAgent onA = await lab["a"].StartAgentAsync())
        await using (RunningAgent onB = await lab["b"].StartAgentAsync())
        {
            Dictionary<string, int> descriptors = [];
            for (int i = 0; i < 6; i++)
            {
                string from = visited[^1], to = from == "a" ? "b" : "a";
                (await Migration.RunAsync(lab, lab[from], walker.Container, to == "a" ? onA : onB)).Expect(ExitCode.Moved, "moved");
                visited.Add(to);
                await walker.WaitUntilItLivesAsync();
                // After the first of each direction an agent holds what it will always hold.
                int open = int.Parse(await lab[to].RunAsync("sh", "-c", "ls /proc/$(pgrep -of '[p]ostcopy agent')/fd | wc -l"), null);
                Assert.InRange(open, 1, descriptors.TryAdd(to, open) ? int.MaxValue : descriptors[to] + 2);
            }
        }

        await walker.VerifyAsync();
        walker.AssertRanOn([.. visited]);
        await walker.Container.RemoveFromAsync(lab["a"]);
        await lab.AssertNothingLeftAsync();
    }
}
