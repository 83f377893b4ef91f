namespace PostCopy.Tests.TestBed;

/// <summary>A few hosts on a wire of their own (eng/lab/host.sh), taken down with everything in them.</summary>
internal sealed class Lab : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);
    private static readonly Lazy<Task> Swept = new(RemoveAbandonedAsync);
    private static int _count;
    private readonly Dictionary<string, LabHost> _hosts = [];

    private Lab(string name) => Name = name;

    public string Name { get; }

    /// <summary>A directory that all hosts see at the same path.</summary>
    public string Shared => $"/run/postcopy-lab/{Name}/shared";

    /// <summary>Where the test programs are, compiled.</summary>
    public string Programs { get; private set; } = "";

    public LabHost this[string name] => _hosts[name];

    public static Task<Lab> UpAsync(params string[] hosts) => UpAsync(hosts, []);

    /// <summary>Hosts that have cgroup v2 and nothing else.</summary>
    public static Task<Lab> UpWithCgroupV2Async(params string[] hosts) => UpAsync(hosts, ["v2"]);

    private static async Task<Lab> UpAsync(string[] hosts, string[] options)
    {
        await Swept.Value;
        Lab lab = new($"t{Environment.ProcessId}-{Interlocked.Increment(ref _count)}");
        try
        {
            lab.Programs = await TestPrograms.DirectoryAsync();
            foreach (string host in hosts)
            {
                await lab.ScriptAsync(["up", lab.Name, host, .. options]);
                lab._hosts.Add(host, await LabHost.AttachAsync(lab, host));
            }

            return lab;
        }
        catch
        {
            await lab.DisposeAsync();
            throw;
        }
    }

    /// <summary>Fails when something is left on a host that was not there at the start: see <see cref="HostInventory"/>.</summary>
    public async Task AssertNothingLeftAsync()
    {
        foreach (LabHost host in _hosts.Values)
        {
            await host.AssertNothingLeftAsync();
        }
    }

    public async Task<CommandResult> ScriptAsync(params string[] arguments) =>
        (await RunningCommand.RunAsync(Limit, Repository.LabScript("host.sh"), arguments)).EnsureSuccess();

    public async ValueTask DisposeAsync() => await ScriptAsync("down", Name);

    // A test run that was killed leaves its labs; their names tell whose they were.
    private static async Task RemoveAbandonedAsync()
    {
        if (!Directory.Exists("/run/postcopy-lab"))
        {
            return;
        }

        foreach (string path in Directory.GetDirectories("/run/postcopy-lab", "t*-*"))
        {
            string name = Path.GetFileName(path);
            if (int.TryParse(name.AsSpan(1, name.IndexOf('-', StringComparison.Ordinal) - 1), out int owner) && !Directory.Exists($"/proc/{owner}"))
            {
                // Another run may have begun to do the same.
                (await RunningCommand.RunAsync(Limit, "flock", "/run/postcopy-lab/.abandoned", Repository.LabScript("host.sh"), "down", name)).EnsureSuccess();
            }
        }
    }
}
