using System.Collections;
using Mono.Unix.Native;

namespace PostCopy.Linux;

/// <summary>
/// Where children are looked for, and what they get as PATH. The one place that decides it: <c>eng/setup.sh</c> puts a CRIU that suits the
/// kernel into <see cref="PrivatePrefix"/>, and runc must find that one too.
/// </summary>
internal static class ChildPath
{
    internal const string PrivatePrefix = "/opt/postcopy/bin";

    /// <summary>Our prefix, then our own PATH, then the sbin directories, which root's PATH lacks after a plain <c>su</c>.</summary>
    internal static string Value { get; } = Compose(System.Environment.GetEnvironmentVariable("PATH"));

    /// <summary>The executable file with this name that a child would run, or null.</summary>
    internal static string? Find(string program) => Find(program, Value);

    internal static string? Find(string program, string searchPath) =>
        searchPath.Split(':', StringSplitOptions.RemoveEmptyEntries)
            .Select(directory => Path.Combine(directory, program))
            .FirstOrDefault(file => File.Exists(file) && Syscall.access(file, AccessModes.X_OK) == 0);

    /// <summary>Our environment, with the given PATH (<see cref="Value"/> when null) in it.</summary>
    internal static Dictionary<string, string> Environment(string? searchPath = null)
    {
        Dictionary<string, string> environment = [];
        foreach (DictionaryEntry entry in System.Environment.GetEnvironmentVariables())
        {
            environment[(string)entry.Key] = (string?)entry.Value ?? "";
        }

        environment["PATH"] = searchPath ?? Value;
        return environment;
    }

    private static string Compose(string? inherited) =>
        string.Join(':', new[] { PrivatePrefix }
            .Concat((inherited ?? "/usr/local/bin:/usr/bin:/bin").Split(':', StringSplitOptions.RemoveEmptyEntries))
            .Concat(["/usr/sbin", "/sbin"])
            .Distinct());
}
