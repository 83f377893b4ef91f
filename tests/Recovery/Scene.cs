using System.Globalization;
using System.Text.Json;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>A container on its way from host a to host b, slowly enough to be disturbed.</summary>
internal sealed class Scene : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly string[] _agentOptions;
    private Migration? _migration;

    private Scene(Lab lab, Walker walker, RunningAgent agent, string[] agentOptions)
    {
        Lab = lab;
        Walker = walker;
        Agent = agent;
        _agentOptions = agentOptions;
    }

    public Lab Lab { get; }

    public Walker Walker { get; }

    public RunningAgent Agent { get; private set; }

    public Migration Migration => _migration!;

    public static Task<Scene> StartAsync(int mebibytes = 64, params string[] agentOptions) => StartAsync(static _ => Task.CompletedTask, mebibytes, agentOptions);

    /// <param name="prepare">What is to be done to the hosts before anything runs there.</param>
    public static async Task<Scene> StartAsync(Func<Lab, Task> prepare, int mebibytes = 64, params string[] agentOptions)
    {
        Bed.RequirePostCopy();
        Lab lab = await Lab.UpAsync("a", "b");
        try
        {
            await prepare(lab);
            Walker walker = await Walker.StartAsync(lab, lab["a"], mebibytes);
            return new Scene(lab, walker, await lab["b"].StartAgentAsync(agentOptions), agentOptions);
        }
        catch
        {
            await lab.DisposeAsync();
            throw;
        }
    }

    /// <summary>Limits what host a can send, so that the drain takes longer than what is to happen in it.</summary>
    public Task LimitRateAsync(int mebibytesPerSecond) =>
        Lab["a"].RunAsync("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", $"{mebibytesPerSecond * 8}mbit", "burst", "64kb", "latency", "50ms");

    public Task UnlimitRateAsync() => Lab["a"].TryAsync("tc", "qdisc", "del", "dev", "eth0", "root");

    public void StartMigration(params string[] options) =>
        _migration = Migration.Start(Lab, Lab["a"], Walker.Container.Id, Agent.Endpoint, Agent.TokenFile, options);

    /// <summary>Starts the migration and returns when the container runs on b and is owed most of its memory.</summary>
    public async Task DrainSlowlyAsync(params string[] options)
    {
        await LimitRateAsync(2);
        StartMigration(options);
        await WaitForPhaseAsync("memory follows");
    }

    /// <summary>Starts a migration and returns when CRIU waits at this step, on whichever host it comes, with CRIU's pid there; <see cref="LetGo"/> lets it go on.</summary>
    public async Task<int> StartHeldAsync(string step, params string[] options)
    {
        string script = $"{Lab.Shared}/hold.sh";
        string held = $"{Lab.Shared}/held";
        await File.WriteAllTextAsync(script, $"#!/bin/sh\n[ \"$CRTOOLS_SCRIPT_ACTION\" = {step} ] || exit 0\necho $PPID >{held}.new; mv {held}.new {held}\nuntil [ -e {Lab.Shared}/go ]; do sleep 0.02; done\n");
        File.SetUnixFileMode(script, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        await File.WriteAllTextAsync($"{Lab.Shared}/hold.conf", $"action-script {script}\n");
        StartMigration(["--criu-config", $"{Lab.Shared}/hold.conf", .. options]);
        await Condition.WaitAsync(() => File.Exists(held), Limit, $"CRIU to come to {step}");
        return int.Parse(await File.ReadAllTextAsync(held), CultureInfo.InvariantCulture);
    }

    public void LetGo() => File.WriteAllText($"{Lab.Shared}/go", "");

    /// <summary>Waits until the source has decided that the container stays.</summary>
    public Task WaitUntilCancelledAsync() => WaitUntilDecidedAsync(Lab["a"]);

    public static Task WaitUntilDecidedAsync(LabHost source) => Condition.WaitAsync(
        () => Directory.GetDirectories($"{source.Root}/run/postcopy", "*-source").Any(static session => new FileInfo($"{session}/decision").LinkTarget is not null), Limit, "the migration to be given up");

    public Task WaitForPhaseAsync(string phase) =>
        Migration.Process.WaitForOutputAsync(command => command.Error.Contains(phase, StringComparison.Ordinal), Limit);

    /// <summary>How often the migration has said this.</summary>
    public int Count(string text) => Migration.Process.Error.Split(text).Length - 1;

    /// <summary>Lets the program go on, or wait for its pages, for a second or so.</summary>
    public async Task WaitAWhileAsync()
    {
        int first = Walker.ReadLog().Count;
        int last = first;
        long since = Environment.TickCount64;
        await Condition.WaitAsync(
            () =>
            {
                int lines = Walker.ReadLog().Count;
                if (lines != last)
                {
                    (last, since) = (lines, Environment.TickCount64);
                }

                return lines - first > 500 || Environment.TickCount64 - since > 1500;
            },
            Limit,
            "a second of the program's life");
    }

    public async Task KillMigrateAsync()
    {
        Assert.Equal(1, await Lab["a"].SignalAsync("KILL", "postcopy migrate"));
        await Migration.Process.WaitAsync(Limit);
    }

    /// <summary>Until then an order to give up its pages is refused.</summary>
    public Task WaitUntilSourceIsMissedAsync() => Condition.WaitAsync(
        async () => Assert.Single(await StatusAsync("b")).GetProperty("waitsFor").GetString()!.Contains("its source", StringComparison.Ordinal), Limit, "the destination to miss its source");

    public async Task KillAgentAsync()
    {
        Assert.Equal(1, await Lab["b"].SignalAsync("KILL", "postcopy agent"));
        await Agent.Process.WaitAsync(Limit);
    }

    public async Task ResumeAsync(string session)
    {
        await Migration.DisposeAsync();
        _migration = Migration.Resume(Lab, Lab["a"], session);
    }

    public Task<JsonElement[]> StatusAsync(string host) => StatusAsync(Lab[host]);

    public static async Task<JsonElement[]> StatusAsync(LabHost host) =>
        [.. JsonDocument.Parse(await host.RunAsync(Repository.PostCopy, "status", "--json")).RootElement.EnumerateArray()];

    public Task<CommandResult> AbortAsync(string session, params string[] options) => Lab["a"].TryAsync([Repository.PostCopy, "abort", session, .. options]);

    public async Task RestartAgentAsync()
    {
        await Agent.DisposeAsync();
        Agent = await Lab["b"].StartAgentAsync(_agentOptions);
    }

    /// <summary>The migration ends well, and the container proves that nothing of it was lost.</summary>
    public async Task<MigrationReport> ExpectMovedAsync()
    {
        await UnlimitRateAsync();
        MigrationReport report = (await Migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        await ExpectWholeOnDestinationAsync();
        return report;
    }

    public async Task ExpectWholeOnDestinationAsync()
    {
        await Walker.VerifyAsync();
        Assert.Equal(0, (await Walker.StatsAsync()).Bad);
        Walker.AssertRanOn("a", "b");
        Assert.Null(await Walker.Container.StatusOnAsync(Lab["a"]));
        Assert.Equal("running", await Walker.Container.StatusOnAsync(Lab["b"]));
        await Agent.DisposeAsync();
        await Walker.Container.RemoveFromAsync(Lab["b"]);
        await Lab.AssertNothingLeftAsync();
    }

    /// <summary>The container runs where it was, and nothing of the attempt is left.</summary>
    public async Task ExpectRolledBackAsync()
    {
        await UnlimitRateAsync();
        await Walker.WaitUntilItLivesAsync();
        await Walker.VerifyAsync();
        Assert.Equal(0, (await Walker.StatsAsync()).Bad);
        Walker.AssertRanOn("a");
        Assert.Equal("running", await Walker.Container.StatusOnAsync(Lab["a"]));
        Assert.Null(await Walker.Container.StatusOnAsync(Lab["b"]));
        await Agent.DisposeAsync();
        await Walker.Container.RemoveFromAsync(Lab["a"]);
        await Lab.AssertNothingLeftAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (_migration is not null)
        {
            await _migration.DisposeAsync();
        }

        await Agent.DisposeAsync();
        await Lab.DisposeAsync();
    }
}
