using System.Globalization;
using System.Text;

namespace PostCopy.Criu;

/// <summary>
/// The configuration file that CRIU finds through <c>CRIU_CONFIG_FILE</c>: it reaches a CRIU that runc starts, and nothing is written below /etc.
/// One long option a line, without dashes (criu(8), CONFIGURATION FILES).
/// </summary>
internal static class CriuConfig
{
    /// <summary>Longest file of the user that is taken along.</summary>
    internal const int MaxUserBytes = 64 << 10;

    /// <summary>Beyond what a process may have open (fs.nr_open is 2^20 by default), so never a descriptor of CRIU's.</summary>
    private const int NoDescriptor = int.MaxValue;

    /// <summary>Seconds until CRIU gives up stopping the tasks (criu(8), --timeout).</summary>
    private const string StoppingOption = "timeout";

    internal static void Write(string path, string userLines)
    {
        StringBuilder text = new();
        // The user's lines come first: where an option is named twice, CRIU takes the last.
        text.Append(userLines).Append('\n');
        // CRIU's own page server is never used: the hook refuses its status-ready. But until then it would listen, and whoever connects in that
        // instant gets through the kernel's queue. Told that a connection exists already, it opens no port (criu(8), --ps-socket); as the descriptor is
        // none, serving would fail, and that is the safe way to fail.
        text.Append(CultureInfo.InvariantCulture, $"ps-socket {NoDescriptor}\n");
        text.Append($"action-script {CriuHook.Program}\n");
        File.WriteAllText(path, text.ToString());
    }

    internal static bool LimitsStopping(string path) => File.ReadLines(path).Any(static line => line.TrimStart().StartsWith(StoppingOption, StringComparison.Ordinal));

    internal static void LimitStopping(string path, TimeSpan time) =>
        File.AppendAllText(path, string.Create(CultureInfo.InvariantCulture, $"{StoppingOption} {Math.Ceiling(time.TotalSeconds)}\n"));
}
