using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.EndToEnd;

/// <summary>An established connection outlives the move when its address moves along.</summary>
public sealed class TcpConnectionTests
{
    private const string ServiceAddress = "10.77.0.100";
    private const int Port = 7777;

    /// <summary>And of what locked the network nothing is left there, where it would cut off whatever comes next.</summary>
    [SkippableTheory]
    [InlineData("iptables")]
    [InlineData("nftables")]
    public Task A_connection_goes_on_from_the_other_host(string networkLock) => MoveServerAsync(Bed.RequirePostCopy, async (lab, server, bundleThere) =>
    {
        string config = $"{lab.Shared}/lock.conf";
        await File.WriteAllTextAsync(config, $"network-lock {networkLock}\n");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        MigrationResult result = await Migration.RunAsync(lab, lab["a"], server, agent, "--bundle", bundleThere, "--tcp-established", "--criu-config", config);
        result.Expect(ExitCode.Moved, "moved");
        Assert.DoesNotContain("CRIU", await lab["a"].RunAsync("ip", "netns", "exec", "service-a", "iptables-save"), StringComparison.Ordinal);
        Assert.DoesNotContain("CRIU", await lab["a"].RunAsync("ip", "netns", "exec", "service-a", "nft", "list", "tables"), StringComparison.Ordinal);
    });

    // What the bed must be able to do before it may blame postcopy.
    [SkippableFact]
    public Task Runc_and_criu_alone_keep_a_connection() => MoveServerAsync(Bed.Require, async (lab, server, bundleThere) =>
    {
        await StockMigration.RunAsync(lab, server, lab["a"], lab["b"], bundleThere, tcpEstablished: true);
        // CRIU leaves its network lock in the source's network.
        await lab["a"].RunAsync("ip", "netns", "delete", "service-a");
    });

    private static async Task MoveServerAsync(Action require, Func<Lab, Container, string, Task> move)
    {
        require();
        await using Lab lab = await Lab.UpAsync("a", "b", "client");
        string networkA = await lab["a"].MakeContainerNetworkAsync("service-a", ServiceAddress, connected: true);
        string networkB = await lab["b"].MakeContainerNetworkAsync("service-b", ServiceAddress, connected: false);
        string bundle = await Bundle.MakeAsync(lab, "echo-bundle", networkA, [], $"{lab.Programs}/echo-server", $"{Port}");
        string bundleThere = await Bundle.CopyAsync(lab, bundle, "echo-bundle-there");
        string config = await File.ReadAllTextAsync($"{bundle}/config.json");
        await File.WriteAllTextAsync($"{bundleThere}/config.json", config.Replace(networkA, networkB, StringComparison.Ordinal));
        Container server = await Container.RunAsync(lab["a"], "echo", bundle);

        await using RunningCommand client = await ConnectAsync(lab);
        // An orchestrator moves the address. While neither side is plugged in nobody can
        // answer the client with a reset; what it sends meanwhile is sent again.
        await lab["a"].DisconnectAsync("service-a");
        await move(lab, server, bundleThere);
        await lab["b"].ConnectAsync("service-b");

        await client.WaitForOutputAsync(command => Answers(command).Any(answer => answer.EndsWith(" b", StringComparison.Ordinal)), TimeSpan.FromSeconds(60));
        client.Input.Close();
        (await client.WaitAsync(TimeSpan.FromSeconds(10))).EnsureSuccess();

        await server.RemoveFromAsync(lab["b"]);
        await lab.AssertNothingLeftAsync();
    }

    [SkippableFact]
    public async Task A_connection_goes_on_after_a_roll_back()
    {
        Bed.RequirePostCopy();
        await using Lab lab = await Lab.UpAsync("a", "b", "client");
        string network = await lab["a"].MakeContainerNetworkAsync("service-a", ServiceAddress, connected: true);
        string bundle = await Bundle.MakeAsync(lab, "echo-bundle", network, [], $"{lab.Programs}/echo-server", $"{Port}");
        string bundleThere = await Bundle.CopyAsync(lab, bundle, "echo-bundle-there");
        File.Delete($"{bundleThere}/rootfs/bin/echo-server");
        Container server = await Container.RunAsync(lab["a"], "echo", bundle);

        await using RunningCommand client = await ConnectAsync(lab);
        int answersAtFailure;
        await lab["b"].MakeContainerNetworkAsync("service-a", ServiceAddress, connected: false);
        await using (RunningAgent agent = await lab["b"].StartAgentAsync())
        {
            // The program is not in the bundle on b: the restore fails.
            MigrationResult result = await Migration.RunAsync(lab, lab["a"], server, agent, "--tcp-established", "--bundle", bundleThere);
            result.Expect(ExitCode.RolledBack, "rolled-back");
            Assert.Contains("bin/echo-server", result.Error, StringComparison.Ordinal);
            answersAtFailure = Answers(client).Length;
        }

        await client.WaitForOutputAsync(command => Answers(command).Length > answersAtFailure + 5, TimeSpan.FromSeconds(30));
        client.Input.Close();
        (await client.WaitAsync(TimeSpan.FromSeconds(10))).EnsureSuccess();

        await server.RemoveFromAsync(lab["a"]);
        await lab.AssertNothingLeftAsync();
    }

    private static async Task<RunningCommand> ConnectAsync(Lab lab)
    {
        RunningCommand client = lab["client"].Start($"{lab.Programs}/echo-client", ServiceAddress, $"{Port}");
        await client.WaitForOutputAsync(command => Answers(command).Length > 5, TimeSpan.FromSeconds(20));
        return client;
    }

    private static string[] Answers(RunningCommand client) => client.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
