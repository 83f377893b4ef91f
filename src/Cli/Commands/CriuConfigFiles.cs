namespace PostCopy.Commands;

/// <summary>
/// CRIU's configuration files: one long option a line, without its dashes; behind a blank its value, in quotes or not; <c>#</c> begins a comment.
/// </summary>
internal static class CriuConfigFiles
{
    private const string GlobalFile = "/etc/criu/default.conf";
    private const string UserFile = ".criu/default.conf";

    /// <summary>
    /// What the files say, as words to go in front of a command line, which then wins over them. All of CRIU's commands share the files: options that
    /// are others' business are left alone.
    /// </summary>
    /// <param name="arguments">The command line: <c>--config</c>, <c>--no-default-config</c>.</param>
    /// <param name="known">The options to take, of those that CRIU has.</param>
    internal static IEnumerable<string> Options(CriuArguments arguments, IReadOnlyCollection<string> known)
    {
        foreach (string file in Files(arguments))
        {
            int number = 0;
            foreach (string line in File.ReadLines(file))
            {
                number++;
                if (Parse(line, $"{file} line {number}") is (string name, var value) && (name == "verbosity" || known.Contains(name)))
                {
                    yield return value is null ? "--" + name : $"--{name}={value}";
                }
            }
        }
    }

    /// <summary>In CRIU's order, later ones win. Who names a file means it to be there; the default ones need not be.</summary>
    private static List<string> Files(CriuArguments arguments)
    {
        List<string> files = [];
        if (!arguments.Has("no-default-config"))
        {
            string? home = Environment.GetEnvironmentVariable("HOME");
            files.AddRange(((string[])[GlobalFile, .. home is { Length: > 0 } ? (string[])[Path.Combine(home, UserFile)] : []]).Where(File.Exists));
        }

        if (Environment.GetEnvironmentVariable("CRIU_CONFIG_FILE") is { Length: > 0 } named)
        {
            files.Add(named);
        }

        return arguments.Text("config") is { } config ? [.. files, config] : files;
    }

    private static (string Name, string? Value)? Parse(string line, string place)
    {
        string text = line.Trim();
        if (text.Length == 0 || text[0] == '#')
        {
            return null;
        }

        int end = text.AsSpan().IndexOfAny(' ', '\t');
        if (end < 0)
        {
            return (text, null);
        }

        (string? value, string rest) = TakeValue(text[end..].TrimStart(), place);
        return rest.Length == 0 || rest[0] == '#' ? (text[..end], value) : throw new FormatException($"{place}: '{rest}' behind the value");
    }

    private static (string? Value, string Behind) TakeValue(string text, string place)
    {
        if (text[0] == '#')
        {
            return (null, text);
        }

        if (text[0] != '"')
        {
            int end = text.AsSpan().IndexOfAny(' ', '\t');
            return end < 0 ? (text, "") : (text[..end], text[end..].TrimStart());
        }

        for (int close = 1; close < text.Length; close++)
        {
            if (text[close] == '\\')
            {
                close++;
            }
            else if (text[close] == '"')
            {
                string value = text[1..close].Replace("\\\"", "\"", StringComparison.Ordinal).Replace(@"\\", @"\", StringComparison.Ordinal);
                return (value, text[(close + 1)..].TrimStart());
            }
        }

        throw new FormatException($"{place}: a quote that does not end");
    }
}
