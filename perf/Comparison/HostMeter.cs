using System.Globalization;
using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>What everything on a host of the lab has used: CPU time by its cgroup, bytes by its network interface.</summary>
internal sealed class HostMeter
{
    private readonly string _cgroup;
    private readonly int _pid;

    public HostMeter(Lab lab, LabHost host)
    {
        string directory = $"/run/postcopy-lab/{lab.Name}";
        _pid = host.Pid;
        // "TYPE MOUNTPOINT CONTROLLERS DIRECTORY"; of version 2 the controllers are "-".
        string[] hierarchy = File.ReadLines($"{directory}/cgroups").Select(line => line.Split(' '))
            .First(fields => fields[2].Split(',').Contains("cpuacct") || fields[0] == "cgroup2");
        _cgroup = $"{hierarchy[3]}/{host.Name}";
    }

    public double CpuSeconds => File.Exists($"{_cgroup}/cpuacct.usage")
        ? long.Parse(File.ReadAllText($"{_cgroup}/cpuacct.usage"), CultureInfo.InvariantCulture) / 1e9
        : long.Parse(File.ReadLines($"{_cgroup}/cpu.stat").First(line => line.StartsWith("usage_usec ", StringComparison.Ordinal))[11..], CultureInfo.InvariantCulture) / 1e6;

    /// <summary>In both directions.</summary>
    public long WireBytes
    {
        get
        {
            string[] fields = File.ReadLines($"/proc/{_pid}/net/dev").First(line => line.Contains("eth0:", StringComparison.Ordinal))
                .Split(':')[1].Split(' ', StringSplitOptions.RemoveEmptyEntries);
            return long.Parse(fields[0], CultureInfo.InvariantCulture) + long.Parse(fields[8], CultureInfo.InvariantCulture);
        }
    }

    /// <summary>The pids, in our own pid namespace, of everything that runs on the host.</summary>
    public IEnumerable<string> Processes()
    {
        IEnumerable<string> lists;
        try
        {
            lists = Directory.GetFiles(_cgroup, "cgroup.procs", SearchOption.AllDirectories);
        }
        catch (DirectoryNotFoundException)
        {
            // A container's cgroup went while it was looked at; the next look is soon.
            return [];
        }

        return lists.SelectMany(ReadLinesIfThere);
    }

    private static IEnumerable<string> ReadLinesIfThere(string path)
    {
        try
        {
            return File.ReadAllLines(path);
        }
        catch (IOException)
        {
            return [];
        }
    }
}
