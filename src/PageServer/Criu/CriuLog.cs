using System.Text.RegularExpressions;

namespace PostCopy.Criu;

/// <summary>CRIU's own explanation of a failure, from the log it leaves in its work directory.</summary>
internal static partial class CriuLog
{
    /// <summary>Bytes looked at from the end of a log: failures are explained there.</summary>
    private const int TailBytes = 4 << 20;

    /// <summary>
    /// The first error that explains anything; null when the log names none. CRIU logs harmless errors in good runs, too.
    /// </summary>
    internal static string? FirstError(string path) =>
        ReadTail(path).FirstOrDefault(static line => line.Contains("Error (", StringComparison.Ordinal) && !IsHarmless(line)) is { } line
            ? Strip(line)
            : null;

    /// <summary>True when CRIU itself ended the restore in failure: it then killed what it had built, or is at it.</summary>
    internal static bool SaysRestoreFailed(string path) => ReadTail(path).Any(static line =>
        line.Contains("Restoring FAILED", StringComparison.Ordinal) || line.Contains("Killing processes because of failure on restore", StringComparison.Ordinal));

    /// <summary>True when CRIU's time to stop the tasks was over (criu(8), --timeout) and it let them go.</summary>
    internal static bool SaysTasksDidNotStop(string path) => ReadTail(path).Any(static line => line.Contains("Timeout reached. Try to interrupt: 0", StringComparison.Ordinal));

    private static IEnumerable<string> ReadTail(string path)
    {
        if (!File.Exists(path))
        {
            yield break;
        }

        using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        file.Seek(-Math.Min(file.Length, TailBytes), SeekOrigin.End);
        using StreamReader reader = new(file);
        while (reader.ReadLine() is { } line)
        {
            yield return line;
        }
    }

    // CRIU may not raise RLIMIT_NOFILE without CAP_SYS_RESOURCE and goes on; our own refusals at the hooks are no explanation either.
    private static bool IsHarmless(string line) =>
        line.Contains("RLIMIT_NOFILE", StringComparison.Ordinal) || line.Contains("action-scripts.c", StringComparison.Ordinal) || line.Contains("hook.sh", StringComparison.Ordinal);

    private static string Strip(string line) => Prefix().Replace(line, "").Trim();

    // "(00.012345)   42: Error (criu/sk-inet.c:123): inet: Can't ..." keeps its last part.
    [GeneratedRegex(@"^\(\s*[\d.]+\)\s*(\d+:\s*)?Error \([^)]*\):\s*")]
    private static partial Regex Prefix();
}
