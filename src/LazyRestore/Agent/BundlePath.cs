namespace PostCopy.Agent;

/// <summary>The bundle that a source names is confined to where this host's administrator allows bundles to be.</summary>
internal static class BundlePath
{
    /// <summary>As many as the kernel follows.</summary>
    private const int MaxLinks = 40;

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

        return root is null || IsBelow(RealPath(bundle), RealPath(root)) ? null : $"the bundle {bundle} is not below {root}, where this agent takes bundles from (--bundle-root)";
    }

    private static bool IsBelow(string? path, string? root) => path is not null && root is not null && path.StartsWith(root.TrimEnd('/') + "/", StringComparison.Ordinal);

    /// <summary>The path without symbolic links, found as the kernel does (path_resolution(7)); null when it has too many of them.</summary>
    private static string? RealPath(string path)
    {
        string real = "/";
        int links = 0;
        Stack<string> ahead = new(Parts(path));
        while (ahead.TryPop(out string? part))
        {
            if (part == "..")
            {
                real = Path.GetDirectoryName(real) ?? "/";
                continue;
            }

            string next = Path.Combine(real, part);
            if (new FileInfo(next).LinkTarget is not { } target)
            {
                real = next;
                continue;
            }

            if (++links > MaxLinks)
            {
                return null;
            }

            real = target.StartsWith('/') ? "/" : real;
            foreach (string further in Parts(target))
            {
                ahead.Push(further);
            }
        }

        return real;
    }

    /// <summary>What stands between the slashes, last first.</summary>
    private static IEnumerable<string> Parts(string path) => path.Split('/').Where(static part => part is not ("" or ".")).Reverse();
}
