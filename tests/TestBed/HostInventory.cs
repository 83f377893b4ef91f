namespace PostCopy.Tests.TestBed;

/// <summary>What a migration could leave behind on a host.  One line an item, its kind in front.  Read from outside: nothing is started there, but for iptables-save.</summary>
internal sealed class HostInventory
{
    private readonly HashSet<string> _items;

    private HostInventory(HashSet<string> items) => _items = items;

    public static HostInventory Empty { get; } = new([]);

    public static async Task<HostInventory> TakeAsync(LabHost host)
    {
        string root = host.Root;
        string[] networks = NamesIn($"{root}/run/netns");
        HashSet<string> items =
        [
            .. NamesIn($"{root}/run/runc").Select(static id => $"container {id}"),
            .. networks.Select(static name => $"network {name}"),
            .. Sessions($"{root}/run/postcopy").Select(static name => $"session {name}"),
            .. File.ReadLines($"/proc/{host.Pid}/mountinfo").Select(static line => $"mount {string.Join(' ', line.Split(" - ")[0].Split(' ')[3..])}"),
            .. Cgroups($"{root}/sys/fs/cgroup"),
            .. NamesIn($"{root}/proc").Where(static name => char.IsAsciiDigit(name[0])).Select(pid => Process($"{root}/proc", pid)).OfType<string>(),
        ];
        foreach (string network in networks.Select(name => $"{root}/run/netns/{name}").Prepend($"/proc/{host.Pid}/ns/net"))
        {
            items.UnionWith(await NetworkLocksAsync(network));
        }

        return new HostInventory(items);
    }

    /// <summary>This inventory with what a network of that name, made for the test, needs.</summary>
    public HostInventory WithNetwork(HostInventory now, string name) =>
        new([.. _items, .. now._items.Where(item => item == $"network {name}" || item.StartsWith("mount ", StringComparison.Ordinal))]);

    /// <summary>What is here and was not in <paramref name="before"/>; empty when nothing is.</summary>
    public string Beyond(HostInventory before) => string.Join('\n', _items.Except(before._items).Order(StringComparer.Ordinal));

    private static string[] NamesIn(string directory) =>
        Directory.Exists(directory) ? [.. Directory.EnumerateFileSystemEntries(directory).Select(static path => Path.GetFileName(path))] : [];

    // Directories of sessions, and what says that memory is watched. Logs are kept.
    private static IEnumerable<string> Sessions(string directory) =>
        NamesIn(directory).Where(name => name is not ("logs" or "tracking") && Directory.Exists($"{directory}/{name}"))
            .Concat(NamesIn($"{directory}/tracking").Select(static name => $"tracking/{name}"));

    // A stopped or frozen process would never be noticed.
    private static IEnumerable<string> Cgroups(string root)
    {
        // Of v1, what lies at the top are hierarchies.
        bool v2Only = File.Exists($"{root}/cgroup.procs");
        Stack<string> open = new(Directory.EnumerateDirectories(root));
        while (open.TryPop(out string? directory))
        {
            string name = directory[(root.Length + 1)..];
            if (v2Only || name.Contains('/', StringComparison.Ordinal))
            {
                yield return $"cgroup {name}";
            }

            if (Read($"{directory}/freezer.state") is { } state && state.Trim() != "THAWED")
            {
                yield return $"frozen {name}: {state.Trim()}";
            }

            if (Read($"{directory}/cgroup.freeze") is "1\n")
            {
                yield return $"frozen {name}";
            }

            foreach (string child in ChildrenOf(directory))
            {
                open.Push(child);
            }
        }
    }

    // Threads of the kernel have no command line; the host's first process waits for one that sleeps.
    private static string? Process(string proc, string pid) =>
        Read($"{proc}/{pid}/stat") is not { } stat ? null
        : stat[(stat.LastIndexOf(')') + 2)..].StartsWith('Z') ? $"zombie {stat[..(stat.LastIndexOf(')') + 1)]}"
        : Read($"{proc}/{pid}/cmdline")?.Replace('\0', ' ').Trim() is { Length: > 0 } command && !command.StartsWith("sleep 1000000", StringComparison.Ordinal) ? $"process {pid} {command}"
        : null;

    // Rules of CRIU's network lock would silently cut a container off that comes back to this host.
    private static async Task<IEnumerable<string>> NetworkLocksAsync(string network)
    {
        // Not everybody's PATH has it.
        CommandResult result = await RunningCommand.RunAsync(
            TimeSpan.FromSeconds(30), "sh", "-c", "PATH=$PATH:/usr/sbin:/sbin exec nsenter \"--net=$1\" -- sh -c 'iptables-save && nft list tables'", "sh", network);
        return result.EnsureSuccess().Output.Split('\n').Where(static line => line.Contains("criu", StringComparison.OrdinalIgnoreCase)).Select(static line => $"network-lock {line}");
    }

    private static string[] ChildrenOf(string directory)
    {
        try
        {
            return Directory.GetDirectories(directory);
        }
        catch (DirectoryNotFoundException)
        {
            return [];
        }
    }

    // Null when it is gone, or not there.
    private static string? Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            return null;
        }
    }
}
