using PostCopy.Control.Messages;
using PostCopy.Linux;
using PostCopy.Runc;

namespace PostCopy.Agent;

/// <summary>Whether a container's memory fits: into this host beside what is on its way already, and into the limit that its bundle sets.</summary>
internal static class MemoryRoom
{
    /// <param name="container">What is to come.</param>
    /// <param name="promisedBytes">Memory that other sessions have yet to fill.</param>
    /// <param name="bundle">Its bundle here; null when it has none, or none that could be read.</param>
    internal static IEnumerable<string> Refusals(Prepare container, ulong promisedBytes, BundleConfig? bundle)
    {
        ulong available = new HostMemory()["MemAvailable"];
        ulong free = available - Math.Min(available, promisedBytes);
        if (container.MemoryBytes > free)
        {
            yield return $"{Need(container)}, this host has {available >> 20} MiB available{(promisedBytes > 0 ? $", of which {promisedBytes >> 20} MiB are for what is arriving already" : "")}";
        }

        if (bundle?.MemoryLimitBytes is { } limit && container.MemoryBytes > limit)
        {
            yield return $"{Need(container)}, its bundle here limits it to {limit >> 20} MiB (linux.resources.memory.limit): raise the limit";
        }
    }

    private static string Need(Prepare container) =>
        $"the container needs {container.MemoryBytes >> 20} MiB of memory here" +
        (container.MemoryBytesAtSource > 0 && container.MemoryBytesAtSource >> 20 < container.MemoryBytes >> 20
            ? $" ({container.MemoryBytesAtSource >> 20} MiB on its source: pages that its processes share are each process's own once moved)"
            : "");
}
