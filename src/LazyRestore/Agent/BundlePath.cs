namespace PostCopy.Agent;

/// <summary>The bundle that a source names is confined to where this host's administrator allows bundles to be.</summary>
internal static class BundlePath
{
    /// <summary>Why <paramref name="bundle"/> cannot be used; null when it can.</summary>
    internal static string? Refusal(string bundle, string? root)
    {
        if (!Path.IsPathFullyQualified(bundle) || bundle.Contains('\0'))
        {
            return $"the bundle path '{bundle}' is not absolute";
        }

        if (!File.Exists(Path.Combine(bundle, "config.json")))
        {
            return $"there is no bundle in {bundle} here (no config.json): copy the container's bundle to this host first, or name its place with --bundle";
        }

        return root is null || IsBelow(RealPath(bundle), RealPath(root)) ? null : $"the bundle {bundle} is not below {root}, where this agent takes bundles from (--bundle-root)";
    }

    private static bool IsBelow(string path, string root) => path.StartsWith(root.TrimEnd('/') + "/", StringComparison.Ordinal);

    /// <summary>The path without symbolic links: what the kernel would open.</summary>
    private static string RealPath(string path)
    {
        string real = "/";
        foreach (string part in Path.GetFullPath(path).Split('/', StringSplitOptions.RemoveEmptyEntries))
        {
            string next = Path.Combine(real, part);
            real = Directory.ResolveLinkTarget(next, returnFinalTarget: true)?.FullName ?? next;
        }

        return real;
    }
}
