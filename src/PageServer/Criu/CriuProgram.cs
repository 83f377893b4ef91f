using PostCopy.Linux;

namespace PostCopy.Criu;

/// <summary>CRIU's executable.</summary>
internal static class CriuProgram
{
    /// <exception cref="IOException">It is not there.</exception>
    internal static string Path => ChildPath.Find("criu") ?? throw new IOException("CRIU is not installed on this host: run postcopy check to see what is missing and how to get it");
}
