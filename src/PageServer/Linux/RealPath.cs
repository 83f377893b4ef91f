namespace PostCopy.Linux;

/// <summary>A path without symbolic links, found as the kernel does (path_resolution(7)). What is not there yet is taken as written.</summary>
internal static class RealPath
{
    /// <summary>As many as the kernel follows.</summary>
    private const int MaxLinks = 40;

    /// <summary>Null when it has too many links.</summary>
    internal static string? TryOf(string path)
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
