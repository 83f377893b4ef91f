namespace PostCopy.Tests.TestBed;

/// <summary>Where the things that the bed needs are in the source tree.</summary>
internal static class Repository
{
    public static string Root { get; } = FindRoot();

    public static string LabScript(string name) => Path.Combine(Root, "eng", "lab", name);

    /// <summary>The postcopy to test: an ahead-of-time build, or whatever POSTCOPY_BIN names.</summary>
    public static string PostCopy { get; } =
        Environment.GetEnvironmentVariable("POSTCOPY_BIN") is { Length: > 0 } named
            ? Path.GetFullPath(named)
            : Path.Combine(Root, "artifacts", "bin", "postcopy");

    private static string FindRoot()
    {
        for (DirectoryInfo? at = new(AppContext.BaseDirectory); at is not null; at = at.Parent)
        {
            if (File.Exists(Path.Combine(at.FullName, "PostCopy.sln")))
            {
                return at.FullName;
            }
        }

        throw new InvalidOperationException($"no PostCopy.sln above {AppContext.BaseDirectory}");
    }
}
