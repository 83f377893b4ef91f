using System.Globalization;

namespace PostCopy.Check;

/// <summary>
/// RLIMIT_NOFILE: a lazy dump holds its memory in pipes of two descriptors each, so the limit bounds the container. CRIU raises the limit to
/// fs.nr_open, but only with CAP_SYS_RESOURCE; otherwise the hard limit it inherits counts.
/// </summary>
internal sealed class OpenFilesProbe : HostProbe
{
    private const long GiB = 1L << 30;

    // What CRIU has open beside the pipes: images, logs, namespaces, the tasks' own files.
    private const long Reserve = 256;

    public override string Id => "open-files";

    public override string Tried => "compared the limit on open files with what a lazy dump of this host's memory takes";

    public override MigrationSides NeededBy => MigrationSides.Source;

    public override Task<HostCheckItem> TryAsync(HostProbeContext host, CancellationToken cancellationToken)
    {
        long limit = host.Capabilities.Has(Capabilities.SysResource)
            ? Number(File.ReadAllText("/proc/sys/fs/nr_open"))
            : HardLimit();
        long pipeBytes = PipeSizeProbe.LargestPipeBytes(host);
        long largestBytes = Math.Max(0, limit - Reserve) / 2 * pipeBytes;
        long memoryBytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;
        string found = string.Create(CultureInfo.InvariantCulture, $"{limit}: containers of up to {(double)largestBytes / GiB:0.#} GiB");
        return Task.FromResult(largestBytes >= memoryBytes
            ? Ok(found)
            : Degraded(
                found,
                "The dump of a container with more memory than that fails and the container runs on here.",
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"Raise the hard limit on open files to {(memoryBytes / pipeBytes * 2) + Reserve} (systemd: LimitNOFILE=, shell: ulimit -Hn)."
                )));
    }

    // "Max open files            1024                 20000                files"; the hard limit is the second number.
    private static long HardLimit()
    {
        const string Field = "Max open files";
        string line = File.ReadLines("/proc/self/limits").First(text => text.StartsWith(Field, StringComparison.Ordinal));
        string hard = line[Field.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[1];
        return hard == "unlimited" ? int.MaxValue : Number(hard);
    }

    private static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);
}
