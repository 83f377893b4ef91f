namespace PostCopy.Tests.Linux;

/// <summary>What runs on this host, from /proc.</summary>
internal static class Processes
{
    /// <summary>The command lines, their arguments ended by NULs.</summary>
    internal static IEnumerable<string> CommandLines() => CommandLines(Directory.GetDirectories("/proc").Select(static path => Path.GetFileName(path)));

    /// <summary>Those of this process's children alone: other test runs start the same programs.</summary>
    internal static IEnumerable<string> CommandLinesOfChildren() =>
        CommandLines(Directory.GetDirectories("/proc/self/task").SelectMany(static thread => Read($"{thread}/children").Split(' ')));

    private static IEnumerable<string> CommandLines(IEnumerable<string> names) =>
        names.Where(static name => int.TryParse(name, out _)).Select(static pid => Read($"/proc/{pid}/cmdline")).Where(static cmdline => cmdline.Length > 0);

    private static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            return ""; // ended in the meantime
        }
    }
}
