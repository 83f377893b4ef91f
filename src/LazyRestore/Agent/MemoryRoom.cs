using System.Globalization;
using System.Text.Json;
using PostCopy.Control.Messages;

namespace PostCopy.Agent;

/// <summary>Whether a container's memory fits: into this host beside what is on its way already, and into the limit that its bundle sets.</summary>
internal static class MemoryRoom
{
    /// <summary>A bundle's configuration has some kilobytes.</summary>
    private const int MaxConfigBytes = 4 << 20;

    /// <param name="container">What is to come.</param>
    /// <param name="promisedBytes">Memory that other sessions have yet to fill.</param>
    internal static IEnumerable<string> Refusals(Prepare container, ulong promisedBytes)
    {
        ulong available = AvailableBytes();
        ulong free = available - Math.Min(available, promisedBytes);
        if (container.MemoryBytes > free)
        {
            yield return $"{Need(container)}, this host has {available >> 20} MiB available{(promisedBytes > 0 ? $", of which {promisedBytes >> 20} MiB are for what is arriving already" : "")}";
        }

        if (container.Bundle.Length > 0 && LimitOf(Path.Combine(container.Bundle, "config.json")) is { } limit && container.MemoryBytes > limit)
        {
            yield return $"{Need(container)}, its bundle here limits it to {limit >> 20} MiB (linux.resources.memory.limit): raise the limit";
        }
    }

    private static string Need(Prepare container) =>
        $"the container needs {container.MemoryBytes >> 20} MiB of memory here" +
        (container.MemoryBytesAtSource > 0 && container.MemoryBytesAtSource >> 20 < container.MemoryBytes >> 20
            ? $" ({container.MemoryBytesAtSource >> 20} MiB on its source: pages that its processes share are each process's own once moved)"
            : "");

    /// <summary>The container's own limit; null when it has none. What runc would not understand it will say itself.</summary>
    internal static ulong? LimitOf(string configPath)
    {
        FileInfo file = new(configPath);
        if (!file.Exists || file.Length > MaxConfigBytes)
        {
            return null;
        }

        try
        {
            using JsonDocument config = JsonDocument.Parse(File.ReadAllBytes(configPath));
            JsonElement at = config.RootElement;
            foreach (string name in (ReadOnlySpan<string>)["linux", "resources", "memory", "limit"])
            {
                if (at.ValueKind != JsonValueKind.Object || !at.TryGetProperty(name, out at))
                {
                    return null;
                }
            }

            // Negative means none.
            return at.ValueKind == JsonValueKind.Number && at.TryGetInt64(out long limit) && limit > 0 ? (ulong)limit : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static ulong AvailableBytes()
    {
        string line = File.ReadLines("/proc/meminfo").First(static line => line.StartsWith("MemAvailable:", StringComparison.Ordinal));
        return ulong.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
    }
}
