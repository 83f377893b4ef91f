using PostCopy.Criu;

namespace PostCopy.Trees;

/// <summary>CRIU's own command line, for what no container manager drives.</summary>
internal static class CriuCommand
{
    /// <summary>What both sides are told. The tree's cgroups are ours to choose; everything else comes from the session's configuration file.</summary>
    internal static string[] Common(CriuSession criu, string log) =>
        ["--lazy-pages", "--images-dir", criu.ImageDirectory, "--work-dir", criu.WorkDirectory, "--log-file", log, "-v4", "--manage-cgroups=ignore"];
}
