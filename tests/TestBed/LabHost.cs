using System.Diagnostics;
using System.Globalization;

namespace PostCopy.Tests.TestBed;

/// <summary>One host of a lab.</summary>
internal sealed class LabHost
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private readonly Lab _lab;
    private HostInventory _atStart = HostInventory.Empty;

    private LabHost(Lab lab, string name)
    {
        _lab = lab;
        Name = name;
        string directory = $"/run/postcopy-lab/{lab.Name}/hosts/{name}";
        Address = File.ReadAllText($"{directory}/address").Trim();
        Pid = int.Parse(File.ReadAllText($"{directory}/pid"), CultureInfo.InvariantCulture);
    }

    public string Name { get; }

    public string Address { get; }

    /// <summary>Of the process that holds its namespaces, as it is seen from outside.</summary>
    public int Pid { get; }

    /// <summary>Its file systems, as they can be read from outside without starting anything there.</summary>
    public string Root => $"/proc/{Pid}/root";

    public static async Task<LabHost> AttachAsync(Lab lab, string name)
    {
        LabHost host = new(lab, name);
        host._atStart = await HostInventory.TakeAsync(host);
        return host;
    }

    public RunningCommand Start(params IEnumerable<string> command) =>
        RunningCommand.Start(Repository.LabScript("host.sh"), ["run", _lab.Name, Name, "--", .. command]);

    /// <summary>Runs a command to its end and returns its exit code, whatever it is.</summary>
    public Task<CommandResult> TryAsync(params IEnumerable<string> command) =>
        RunningCommand.RunAsync(Limit, Repository.LabScript("host.sh"), ["run", _lab.Name, Name, "--", .. command]);

    /// <summary>Runs a command that must succeed.</summary>
    public async Task<string> RunAsync(params IEnumerable<string> command) => (await TryAsync(command)).EnsureSuccess().Output;

    /// <summary>Starts <c>postcopy agent</c> here and waits until it listens.</summary>
    public Task<RunningAgent> StartAgentAsync(params string[] options) => RunningAgent.StartAsync(_lab, this, options);

    /// <summary>Makes a network for a container; returns its path, which exists on this host alone.</summary>
    public async Task<string> MakeContainerNetworkAsync(string name, string address, bool connected)
    {
        await _lab.ScriptAsync("netns", _lab.Name, Name, name, address, connected ? "in" : "out");
        _atStart = _atStart.WithNetwork(await HostInventory.TakeAsync(this), name);
        return $"/run/netns/{name}";
    }

    /// <summary>A file system of its own for a directory, for the rest of the lab's life.</summary>
    public async Task MountTmpfsAsync(string directory, string size)
    {
        await RunAsync("sh", "-c", $"mkdir -p {directory} && mount -t tmpfs -o mode=700,size={size} tmpfs {directory}");
        _atStart = await HostInventory.TakeAsync(this);
    }

    /// <summary>
    /// Limits what this host sends, so that a drain takes long enough for something to happen in it. The queue is short: a fault's answer does not
    /// wait long behind what is pushed.
    /// </summary>
    public Task LimitRateAsync(int megabitsPerSecond) =>
        RunAsync("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", $"{megabitsPerSecond}mbit", "burst", "32kb", "latency", "4ms");

    /// <summary>
    /// Makes this host's link one of so many Mbit/s, headers included: with the queue that a real link has, the kernel's default. What may leave at once
    /// (burst) holds some of the kernel's largest segments, or high rates are not reached.
    /// </summary>
    public async Task LimitLinkAsync(int megabitsPerSecond)
    {
        await RunAsync("tc", "qdisc", "replace", "dev", "eth0", "root", "handle", "1:", "tbf",
            "rate", $"{megabitsPerSecond}mbit", "burst", $"{Math.Max(128 << 10, megabitsPerSecond * 100)}", "latency", "4ms");
        await RunAsync("tc", "qdisc", "replace", "dev", "eth0", "parent", "1:1", "pfifo_fast");
    }

    public Task UnlimitRateAsync() => RunAsync("tc", "qdisc", "delete", "dev", "eth0", "root");

    public Task ConnectAsync(string network) => _lab.ScriptAsync("cable", _lab.Name, Name, network, "in");

    public Task DisconnectAsync(string network) => _lab.ScriptAsync("cable", _lab.Name, Name, network, "out");

    /// <summary>Cuts the whole host off the wire, silently; <see cref="MendAsync"/> undoes it.</summary>
    public Task CutAsync() => _lab.ScriptAsync("link", _lab.Name, Name, "down");

    public Task MendAsync() => _lab.ScriptAsync("link", _lab.Name, Name, "up");

    /// <summary>Signals the processes here whose command line fits a pattern of pgrep; returns how many there were.</summary>
    public async Task<int> SignalAsync(string signal, string pattern)
    {
        // The pattern's first letter in brackets: pgrep must not find the shell that has it on its own command line.
        CommandResult result = await TryAsync(
            "bash", "-c", "n=0; for pid in $(pgrep -f \"$2\"); do kill -\"$1\" \"$pid\" 2>/dev/null && n=$((n+1)); done; echo $n", "signal", signal, $"[{pattern[0]}]{pattern[1..]}");
        return int.Parse(result.EnsureSuccess().Output, CultureInfo.InvariantCulture);
    }

    /// <summary>Whether something listens on a TCP port here.  Looks, does not connect.</summary>
    public bool IsListening(int port)
    {
        string suffix = $":{port:X4}";
        return File.ReadLines($"/proc/{Pid}/net/tcp").Concat(File.ReadLines($"/proc/{Pid}/net/tcp6"))
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Any(field => field[1].EndsWith(suffix, StringComparison.Ordinal)
                && int.TryParse(field[3], NumberStyles.HexNumber, null, out int state) && state == 0x0a);
    }

    // Processes take a moment to be reaped, and cgroups to be removed: looked at until it holds.
    public async Task AssertNothingLeftAsync(string? except = null)
    {
        string left = "";
        Stopwatch waited = Stopwatch.StartNew();
        do
        {
            left = (await HostInventory.TakeAsync(this)).Beyond(_atStart);
            left = string.Join('\n', left.Split('\n').Where(line => except is null || !line.StartsWith(except, StringComparison.Ordinal)));
            if (left.Length == 0)
            {
                return;
            }
        }
        while (waited.Elapsed < TimeSpan.FromSeconds(10));

        Assert.Fail($"left behind on host {Name}:\n{left}");
    }
}
