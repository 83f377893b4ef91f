using System.Diagnostics;
using System.Text;
using PostCopy.Check;
using PostCopy.Linux;
using PostCopy.Tests.Linux;

namespace PostCopy.Tests.Check;

public sealed class HostCheckTests : IDisposable
{
    /// <summary>Where the limit has to pass.</summary>
    private static readonly TimeSpan Impatience = TimeSpan.FromSeconds(2);

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("postcopy-test-check-");

    public void Dispose() => _directory.Delete(recursive: true);

    private static async Task<Dictionary<string, HostCheckItem>> RunAsync(HostCheckOptions options)
    {
        HostCheckReport report = await HostCheck.RunAsync(options, CancellationToken.None);
        return report.Items.ToDictionary(item => item.Id);
    }

    /// <summary>A search path with everything this host has but the named programs.</summary>
    private string PathWithout(params string[] hidden)
    {
        string bin = _directory.CreateSubdirectory("bin").FullName;
        foreach (string program in new[] { "criu", "runc", "bash", "iptables-restore", "ip6tables-restore", "nsenter", "nft" }.Except(hidden))
            File.CreateSymbolicLink(Path.Combine(bin, program), ChildPath.Find(program)!);
        return bin;
    }

    private void Script(string name, string text)
    {
        string path = Path.Combine(_directory.FullName, "bin", name);
        File.WriteAllText(path, "#!/bin/sh\n" + text);
        Mono.Unix.Native.Syscall.chmod(path, Mono.Unix.Native.FilePermissions.ACCESSPERMS);
    }

    [Fact]
    public async Task This_host_can_all_that_the_tests_need_and_nothing_is_left_behind()
    {
        string[] before = Traces();
        Stopwatch clock = Stopwatch.StartNew();
        HostCheckReport report = await HostCheck.RunAsync(new HostCheckOptions(), CancellationToken.None);

        Assert.DoesNotContain(report.Items, item => item.Result == HostCheckResult.Missing);
        Assert.True(report.CanSend);
        Assert.True(report.CanReceive);
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(10), $"took {clock.Elapsed}");
        Assert.Equal(before, Traces());
        Assert.Equal(report.Items, HostCheckReport.Parse(Encoding.UTF8.GetBytes(report.ToJson())).Items);
    }

    /// <summary>What a check of this very process might leave; others may be checking the same host.</summary>
    private static string[] Traces() =>
    [
        .. Directory.GetDirectories(Path.GetTempPath(), $"postcopy-check-{Environment.ProcessId}-*"),
        .. Directory.GetDirectories("/run", $".postcopy-check-{Environment.ProcessId}-*"),
        .. Directory.GetDirectories("/sys/fs/cgroup").Append("/sys/fs/cgroup")
            .SelectMany(cgroup => Directory.GetDirectories(cgroup, $"postcopy-check-{Environment.ProcessId}-*")),
        .. Processes.CommandLinesOfChildren().Where(cmdline => cmdline.EndsWith($"sleep\0{ThrowAwayProcess.LifetimeSeconds}\0", StringComparison.Ordinal)),
    ];

    [Fact]
    public async Task Ids_are_stable_names() =>
        Assert.Equal(
            [
                "architecture", "kernel", "root", "capabilities", "sys-resource", "userfaultfd", "unprivileged-userfaultfd", "dirty-tracking",
                "process-vm-readv", "freezer", "criu", "criu-trial", "runc", "bash", "network-lock", "state-directory", "open-files", "pipe-size",
                "congestion-control", "cpu-latency",
            ],
            (await HostCheck.RunAsync(new HostCheckOptions(), CancellationToken.None)).Items.Select(item => item.Id));

    [Theory]
    [InlineData("runc", "runc")]
    [InlineData("bash", "bash")]
    [InlineData("criu", "criu", "criu-trial")]
    public async Task A_missing_program_is_named_with_consequence_and_cure(string program, params string[] ids)
    {
        Dictionary<string, HostCheckItem> items = await RunAsync(new HostCheckOptions { SearchPath = PathWithout(program) });
        Assert.Equal(ids, items.Values.Where(item => item.Result == HostCheckResult.Missing).Select(item => item.Id));
        Assert.All(ids, id => Assert.EndsWith(".", items[id].Consequence, StringComparison.Ordinal));
        Assert.All(ids, id => Assert.Contains("nstall", items[id].Cure, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_criu_that_is_too_old_or_does_not_start_is_told_apart()
    {
        string path = PathWithout("criu");
        Script("criu", "echo 'Version: 3.17.1'");
        Dictionary<string, HostCheckItem> old = await RunAsync(new HostCheckOptions { SearchPath = path, StepLimit = Impatience });
        Assert.Equal(HostCheckResult.Missing, old["criu"].Result);
        Assert.StartsWith("3.17.1 (", old["criu"].Found, StringComparison.Ordinal);
        Assert.Equal("dump claims success, but the process lives on", old["criu-trial"].Found);

        Script("criu", "echo 'Error (vdso): unexpected' >&2; exit 1");
        Dictionary<string, HostCheckItem> broken = await RunAsync(new HostCheckOptions { SearchPath = path });
        Assert.Equal(HostCheckResult.Missing, broken["criu"].Result);
        Assert.Contains("unexpected", broken["criu"].Found, StringComparison.Ordinal);
        Assert.Contains("unexpected", broken["criu-trial"].Found, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("5.10", "4.1")]
    [InlineData("6.15.9", "4.1")]
    [InlineData("6.16", "4.2")]
    [InlineData("7.0", "4.2")]
    public void The_criu_wanted_follows_the_kernel(string kernel, string criu) =>
        Assert.Equal(Version.Parse(criu), CriuProbe.Wanted(Version.Parse(kernel)));

    [Fact]
    public async Task A_program_that_hangs_is_given_up()
    {
        string path = PathWithout("runc");
        Script("runc", "exec /bin/sleep 60");
        HostCheckItem runc = (await RunAsync(new HostCheckOptions { SearchPath = path, StepLimit = Impatience }))["runc"];
        Assert.Equal(HostCheckResult.Missing, runc.Result);
        Assert.Contains("did not end within", runc.Found, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_iptables_nftables_is_second_best()
    {
        HostCheckItem item = (await RunAsync(new HostCheckOptions { SearchPath = PathWithout("ip6tables-restore") }))["network-lock"];
        Assert.NotEqual(HostCheckResult.Ok, item.Result);
        Assert.StartsWith("no ip6tables-restore on PATH", item.Found, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_state_directory_in_memory_is_good_and_an_impossible_one_is_not()
    {
        Assert.Equal(HostCheckResult.Ok, (await RunAsync(new HostCheckOptions { StateDirectory = "/dev/shm/postcopy/deep" }))["state-directory"].Result);
        Assert.False(Directory.Exists("/dev/shm/postcopy"));
        Assert.Equal(HostCheckResult.Missing, (await RunAsync(new HostCheckOptions { StateDirectory = "/proc/postcopy" }))["state-directory"].Result);
    }

    [Fact]
    public async Task A_cancelled_check_ends_at_once()
    {
        using CancellationTokenSource cancelled = new();
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => HostCheck.RunAsync(new HostCheckOptions(), cancelled.Token));
    }
}
