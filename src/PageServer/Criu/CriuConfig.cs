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

    internal static void Write(string path, string userLines)
    {
        StringBuilder text = new();
        // The user's lines come first: where an option is named twice, CRIU takes the last.
        text.Append(userLines).Append('\n');
        // CRIU's own page server is never used, but for an instant it listens: on loopback, not on every address.
        text.Append("address 127.0.0.1\n");
        text.Append($"action-script {CriuHook.Program}\n");
        File.WriteAllText(path, text.ToString());
    }
}
