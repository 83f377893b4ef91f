using System.Globalization;

namespace PostCopy.Linux;

/// <summary>Which namespaces processes are in (namespaces(7)).</summary>
internal static class ProcessNamespace
{
    /// <summary>The name of a process's namespace of a kind, <c>net:[4026531840]</c> for example; null when it has none any more.</summary>
    internal static string? Of(int pid, string kind) => At(pid.ToString(CultureInfo.InvariantCulture), kind);

    /// <summary>The same of this process.</summary>
    internal static string? Ours(string kind) => At("self", kind);

    /// <summary>Whether a process shares ours.</summary>
    internal static bool IsOurs(int pid, string kind) => Of(pid, kind) == Ours(kind);

    private static string? At(string process, string kind) => File.ResolveLinkTarget($"/proc/{process}/ns/{kind}", returnFinalTarget: false)?.Name;
}
