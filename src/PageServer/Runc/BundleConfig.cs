using System.Text.Json;

namespace PostCopy.Runc;

/// <summary>What of a bundle's <c>config.json</c> matters to who moves its container (the OCI runtime specification's config.md). What runc would not understand it will say itself.</summary>
internal sealed record BundleConfig
{
    /// <summary>A bundle's configuration has some kilobytes.</summary>
    private const int MaxBytes = 4 << 20;

    /// <summary>Null when the container has none of its own.</summary>
    public ulong? MemoryLimitBytes { get; private init; }

    public string? CgroupsPath { get; private init; }

    /// <summary>Its standard streams are a terminal, whose other end is with who started it.</summary>
    public bool HasTerminal { get; private init; }

    /// <summary>The container's root directory.</summary>
    public string? RootPath { get; private init; }

    /// <summary>Namespaces that it joins instead of having its own.</summary>
    public IReadOnlyList<string> NamespacePaths { get; private init; } = [];

    /// <summary>That of its network; null when it has one of its own, or the host's.</summary>
    public string? NetworkPath { get; private init; }

    /// <summary>Null when it cannot be read.</summary>
    internal static BundleConfig? TryRead(string bundle)
    {
        try
        {
            FileInfo file = new(Path.Combine(bundle, "config.json"));
            if (!file.Exists || file.Length > MaxBytes)
            {
                return null;
            }

            using JsonDocument document = JsonDocument.Parse(File.ReadAllBytes(file.FullName));
            JsonElement config = document.RootElement;
            (string? Type, string Path)[] joined = At(config, "linux", "namespaces") is { ValueKind: JsonValueKind.Array } namespaces
                ? [.. namespaces.EnumerateArray().Select(static one => (Text(At(one, "type")), Text(At(one, "path")) ?? "")).Where(static one => one.Item2.Length > 0)]
                : [];
            return new BundleConfig
            {
                // Negative means none.
                MemoryLimitBytes = At(config, "linux", "resources", "memory", "limit") is { ValueKind: JsonValueKind.Number } number && number.TryGetInt64(out long limit) && limit > 0
                    ? (ulong)limit
                    : null,
                CgroupsPath = Text(At(config, "linux", "cgroupsPath")),
                HasTerminal = At(config, "process", "terminal") is { ValueKind: JsonValueKind.True },
                RootPath = Text(At(config, "root", "path")) is { Length: > 0 } root ? Path.Combine(bundle, root) : null,
                NamespacePaths = [.. joined.Select(static one => one.Path)],
                NetworkPath = joined.FirstOrDefault(static one => one.Type == "network").Path,
            };
        }
        catch (Exception e) when (e is IOException or JsonException or UnauthorizedAccessException or InvalidOperationException)
        {
            return null;
        }
    }

    private static JsonElement? At(JsonElement from, params ReadOnlySpan<string> names)
    {
        foreach (string name in names)
        {
            if (from.ValueKind != JsonValueKind.Object || !from.TryGetProperty(name, out from))
            {
                return null;
            }
        }

        return from;
    }

    private static string? Text(JsonElement? element) => element is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;
}
