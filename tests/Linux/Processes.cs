namespace PostCopy.Tests.Linux;

/// <summary>What runs on this host, from /proc.</summary>
internal static class Processes
{
    /// <summary>The command lines, their arguments ended by NULs.</summary>
    internal static IEnumerable<string> CommandLines()
    {
        foreach (string directory in Directory.GetDirectories("/proc").Where(path => int.TryParse(Path.GetFileName(path), out _)))
        {
            string cmdline;
            try
            {
                cmdline = File.ReadAllText(Path.Combine(directory, "cmdline"));
            }
            catch (IOException)
            {
                continue; // ended in the meantime
            }
            yield return cmdline;
        }
    }
}
