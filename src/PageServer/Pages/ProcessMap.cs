using System.Globalization;
using PostCopy.Memory;

namespace PostCopy.Pages;

/// <summary>One line of <c>/proc/PID/maps</c> (proc_pid_maps(5)).</summary>
internal readonly record struct ProcessMapping(PageRange Range, bool IsReadable, bool IsWritable, bool IsExecutable, bool IsPrivate, ulong Inode, string Name)
{
    /// <summary>Private memory that no file is behind: what a lazy restore owes, and what write protection can watch.</summary>
    internal bool IsPrivateAnonymous => IsPrivate && Inode == 0 && Name is "" or "[heap]" or "[stack]" || (IsPrivate && Name.StartsWith("[anon:", StringComparison.Ordinal));

    internal bool IsStack => Name == "[stack]";
}

/// <summary>The mappings of a process as they are now.</summary>
internal static class ProcessMap
{
    internal static List<ProcessMapping> Of(int pid)
    {
        List<ProcessMapping> mappings = [];
        foreach (string line in File.ReadLines($"/proc/{pid}/maps"))
        {
            mappings.Add(Parse(line));
        }

        return mappings;
    }

    /// <summary>"7f00-7f10 rw-p 00000000 00:00 0    [name]".</summary>
    internal static ProcessMapping Parse(string line)
    {
        ReadOnlySpan<char> text = line;
        Span<Range> fields = stackalloc Range[6];
        int count = text.Split(fields, ' ', StringSplitOptions.RemoveEmptyEntries);
        if (count < 5)
        {
            throw new FormatException($"'{line}' is no line of /proc/PID/maps");
        }

        ReadOnlySpan<char> bounds = text[fields[0]];
        int dash = bounds.IndexOf('-');
        ReadOnlySpan<char> permissions = text[fields[1]];
        return new ProcessMapping(
            PageRange.FromBounds(
                ulong.Parse(bounds[..dash], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture),
                ulong.Parse(bounds[(dash + 1)..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture)),
            permissions[0] == 'r',
            permissions[1] == 'w',
            permissions[2] == 'x',
            permissions[3] == 'p',
            ulong.Parse(text[fields[4]], CultureInfo.InvariantCulture),
            count == 6 ? text[fields[5]].ToString() : "");
    }
}
