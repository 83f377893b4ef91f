namespace PostCopy.Tests.TestBed;

/// <summary>What a migration could leave behind on a host.  One line an item, its kind in front.</summary>
internal sealed class HostInventory
{
    // Rules of CRIU's network lock would silently cut a container off that comes back to this
    // host; a stopped or frozen process would never be noticed.
    private const string Script = """
        runc list -q | sed 's/^/container /'
        ip netns list | sed 's/ .*//; s/^/network /'
        sed 's/^[^ ]* [^ ]* [^ ]* /mount /; s/ - .*//' /proc/self/mountinfo
        find /sys/fs/cgroup -mindepth 2 -type d | sed 's/^/cgroup /'
        find /sys/fs/cgroup -name freezer.state -exec grep -H -v THAWED {} + | sed 's/^/frozen /'
        find /sys/fs/cgroup -name cgroup.freeze -exec grep -H 1 {} + | sed 's/^/frozen /'
        for stat in /proc/[0-9]*/stat; do
            pid=${stat#/proc/}; pid=${pid%/stat}
            read -r line 2>/dev/null <"$stat" || continue
            case ${line##*) } in
                Z*) echo "zombie $line" | cut -d' ' -f1-3 ;;
                *) command=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline")
                   case $command in
                       '' | *postcopy-inventory* | sed\ * | tr\ * | sleep\ 1000000*) ;;
                       *) echo "process $pid $command" ;;
                   esac ;;
            esac
        done
        locks() { "$@" iptables-save 2>&1 | grep -i criu | sed "s/^/network-lock /"; }
        locks env
        for network in $(ip netns list | cut -d' ' -f1); do locks ip netns exec "$network"; done
        true
        """;

    private readonly HashSet<string> _items;

    private HostInventory(HashSet<string> items) => _items = items;

    public static HostInventory Empty { get; } = new([]);

    public static async Task<HostInventory> TakeAsync(LabHost host)
    {
        string output = await host.RunAsync("bash", "-c", Script, "postcopy-inventory");
        return new HostInventory([.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries)]);
    }

    /// <summary>This inventory with what a network of that name, made for the test, needs.</summary>
    public HostInventory WithNetwork(HostInventory now, string name) =>
        new([.. _items, .. now._items.Where(item => item == $"network {name}" || item.StartsWith("mount ", StringComparison.Ordinal))]);

    /// <summary>What is here and was not in <paramref name="before"/>; empty when nothing is.</summary>
    public string Beyond(HostInventory before) => string.Join('\n', _items.Except(before._items).Order(StringComparer.Ordinal));
}
