using PostCopy.Linux;

namespace PostCopy.Criu;

/// <summary>The version a CRIU binary gives itself.</summary>
internal static class CriuVersion
{
    /// <summary>For example <c>4.2.1</c>. Throws <see cref="IOException"/> when the binary does not start.</summary>
    internal static async Task<string> OfAsync(string path, CancellationToken cancellation)
    {
        CapturedChild child = await CapturedChild.RunAsync(path, ["--version"], null, null, cancellation).ConfigureAwait(false);
        return child.Output.Split('\n').FirstOrDefault(static line => line.StartsWith("Version:", StringComparison.Ordinal)) is { } line
            ? line["Version:".Length..].Trim()
            : throw new IOException($"{path} does not start ({child.Status}): run postcopy check to see why and what to do");
    }
}
