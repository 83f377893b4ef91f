using PostCopy.Criu;
using PostCopy.Linux;

namespace PostCopy.Trees;

/// <summary>CRIU's own command line, for what no container manager drives.</summary>
internal static class CriuCommand
{
    internal static string Program => ChildPath.Find("criu") ?? throw new TreeException("CRIU is not installed on this host: run postcopy check to see what is missing and how to get it");

    /// <summary>What both sides are told. The tree's cgroups are ours to choose; everything else comes from the session's configuration file.</summary>
    internal static string[] Common(CriuSession criu, string log) =>
        ["--lazy-pages", "--images-dir", criu.ImageDirectory, "--work-dir", criu.WorkDirectory, "--log-file", log, "-v4", "--manage-cgroups=ignore"];
}
