using System.Globalization;
using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>Where it was measured: no number means anything without it.</summary>
internal sealed record Machine(string Processor, int Cpus, double MemoryGiB, string Kernel, string PostCopy, string Criu, string Runc, double LoadAverage, DateTimeOffset At)
{
    public static Machine Describe()
    {
        string processor = File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(": ")[1] ?? "unknown processor";
        double load = double.Parse(File.ReadAllText("/proc/loadavg").Split(' ')[0], CultureInfo.InvariantCulture);
        string memory = File.ReadLines("/proc/meminfo").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)[1];
        return new Machine(
            processor,
            Environment.ProcessorCount,
            double.Parse(memory, CultureInfo.InvariantCulture) / (1 << 20),
            File.ReadAllText("/proc/sys/kernel/osrelease").Trim(),
            FirstLine(Repository.PostCopy, "--version"),
            FirstLine("criu", "--version"),
            FirstLine("runc", "--version"),
            load,
            DateTimeOffset.UtcNow);
    }

    public override string ToString() =>
        $"{Cpus} x {Processor}, {MemoryGiB:0} GiB, Linux {Kernel}, postcopy {PostCopy}, CRIU {Criu}, {Runc}, load average {LoadAverage:0.00} at the start, {At:yyyy-MM-dd HH:mm}Z";

    // Found as host.sh finds it: CRIU lies beside the PATH.
    private static string FirstLine(string program, string argument) => RunningCommand
        .RunAsync(TimeSpan.FromSeconds(10), "env", $"PATH=/opt/postcopy/bin:{Environment.GetEnvironmentVariable("PATH")}", program, argument)
        .GetAwaiter().GetResult().EnsureSuccess().Output.Split('\n')[0].Replace("Version: ", "", StringComparison.Ordinal).Trim();
}
