using PostCopy.Linux;

namespace PostCopy.Agent;

/// <summary>The bundle that a source names is confined to where this host's administrator allows bundles to be.</summary>
internal static class BundlePath
{
    /// <summary>Why <paramref name="bundle"/> cannot be used; null when it can.</summary>
    internal static string? Refusal(string bundle, string? root)
    {
        if (!Path.IsPathFullyQualified(bundle) || bundle.Contains('\0') || bundle.Split('/').Contains(".."))
        {
            return $"the bundle path '{bundle}' is not absolute, or climbs with '..'";
        }

        if (!File.Exists(Path.Combine(bundle, "config.json")))
        {
            return $"there is no bundle in {bundle} here (no config.json): copy the container's bundle to this host first, or name its place with --bundle";
        }

        return root is null || IsBelow(RealPath.TryOf(bundle), RealPath.TryOf(root)) ? null : $"the bundle {bundle} is not below {root}, where this agent takes bundles from (--bundle-root)";
    }

    private static bool IsBelow(string? path, string? root) => path is not null && root is not null && path.StartsWith(root.TrimEnd('/') + "/", StringComparison.Ordinal);
}
