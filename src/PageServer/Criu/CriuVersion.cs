using PostCopy.Linux;

namespace PostCopy.Criu;

/// <summary>The version a CRIU binary gives itself.</summary>
internal static class CriuVersion
{
    /// <summary>For example <c>4.2.1</c>. Throws <see cref="IOException"/> when the binary does not start.</summary>
    /// <remarks>
    /// Also has CRIU probe the kernel (<c>criu check</c>) and remember what it found, below /run: probed in the downtime it would cost some 30 ms of
    /// it. What the check thinks of the kernel does not matter here; <c>postcopy check</c> judges that.
    /// </remarks>
    internal static async Task<string> OfAsync(string path, CancellationToken cancellation)
    {
        Task<CapturedChild> probe = CapturedChild.RunAsync(path, ["check"], null, null, cancellation);
        CapturedChild child = await CapturedChild.RunAsync(path, ["--version"], null, null, cancellation).ConfigureAwait(false);
        await probe.ConfigureAwait(false);
        return child.Output.Split('\n').FirstOrDefault(static line => line.StartsWith("Version:", StringComparison.Ordinal)) is { } line
            ? line["Version:".Length..].Trim()
            : throw new IOException($"{path} does not start ({child.Status}): run postcopy check to see why and what to do");
    }
}
