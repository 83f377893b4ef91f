namespace PostCopy.Linux;

/// <summary>A mount, as <c>/proc/PID/mountinfo</c> has it (proc_pid_mountinfo(5)).</summary>
/// <param name="Id">Its number, by which <c>/proc/PID/fdinfo</c> names it.</param>
/// <param name="Root">What of its file system is mounted.</param>
/// <param name="Point">Where.</param>
/// <param name="Type">Its file system's.</param>
/// <param name="Options">Of the file system as a whole: for cgroup v1, its controllers.</param>
internal readonly record struct MountEntry(string Id, string Root, string Point, string Type, IReadOnlyList<string> Options)
{
    /// <summary>All that this process sees, the oldest first.</summary>
    internal static IEnumerable<MountEntry> All() => SeenBy("self");

    /// <summary>All that a process sees, the oldest first.</summary>
    internal static IEnumerable<MountEntry> SeenBy(string pid) => File.ReadLines($"/proc/{pid}/mountinfo").Select(Parse);

    /// <summary><c>36 35 98:0 /root /point options optional-fields - type source super-options</c></summary>
    internal static MountEntry Parse(string line)
    {
        int separator = line.IndexOf(" - ", StringComparison.Ordinal);
        string[] front = line[..separator].Split(' ');
        string[] rear = line[(separator + 3)..].Split(' ');
        return new MountEntry(front[0], Unescape(front[3]), Unescape(front[4]), rear[0], rear[2].Split(','));
    }

    /// <summary>The kernel writes what would end a field as a backslash and three octal digits.</summary>
    private static string Unescape(string field) =>
        field.Replace("\\040", " ", StringComparison.Ordinal).Replace("\\011", "\t", StringComparison.Ordinal).Replace("\\012", "\n", StringComparison.Ordinal)
            .Replace("\\134", "\\", StringComparison.Ordinal);
}
