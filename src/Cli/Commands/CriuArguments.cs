using System.Globalization;

namespace PostCopy.Commands;

/// <summary>A command line as CRIU's users write it (getopt_long(3)): <c>-D DIR</c>, <c>-DDIR</c>, <c>--port 27</c>, <c>--port=27</c>, <c>-v4</c>, <c>-vvv</c>, <c>-dv4</c>.</summary>
internal sealed class CriuArguments
{
    private readonly Dictionary<string, string> _values = new(StringComparer.Ordinal);
    private readonly HashSet<string> _known;

    /// <summary>CRIU's default: warnings and errors.</summary>
    private const int DefaultVerbosity = 2;

    private static readonly Dictionary<char, string> ShortNames = new()
    {
        ['D'] = "images-dir",
        ['W'] = "work-dir",
        ['o'] = "log-file",
        ['v'] = "verbosity",
        ['d'] = "daemon",
        ['t'] = "tree",
    };

    private static readonly HashSet<string> WithoutValue = ["daemon", "page-server", "lazy-pages", "tls", "tls-no-cn-verify", "auto-dedup", "no-default-config"];

    /// <summary>Reads a command line. Throws <see cref="FormatException"/>, which names the option, for what a command does not know.</summary>
    /// <param name="known">Long names, <c>verbosity</c> among them.</param>
    /// <param name="arguments">The words behind the command's name.</param>
    internal CriuArguments(IEnumerable<string> known, IReadOnlyList<string> arguments)
    {
        _known = [.. known];
        Queue<string> words = new(arguments);
        while (words.TryDequeue(out string? word))
        {
            if (word == "--")
            {
                Rest = [.. words];
                break;
            }

            if (word.StartsWith("--", StringComparison.Ordinal))
            {
                ReadLong(word[2..], words);
            }
            else if (word.Length > 1 && word[0] == '-')
            {
                ReadShort(word[1..], words);
            }
            else
            {
                throw new FormatException($"'{word}' is no option");
            }
        }
    }

    /// <summary>What follows a <c>--</c>.</summary>
    internal IReadOnlyList<string> Rest { get; } = [];

    internal int Verbosity { get; private set; } = DefaultVerbosity;

    internal bool Has(string name) => _values.ContainsKey(name);

    internal string? Text(string name) => _values.GetValueOrDefault(name);

    /// <summary>A number between two limits; null when the option was not given.</summary>
    internal int? Number(string name, int least, int most)
    {
        if (Text(name) is not { } text)
        {
            return null;
        }

        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= least && number <= most
            ? number
            : throw new FormatException($"--{name} {text}: not a number from {least} to {most}");
    }

    /// <summary>The same command line again, without some options.</summary>
    internal IReadOnlyList<string> Without(params ReadOnlySpan<string> names)
    {
        List<string> words = [$"-v{Verbosity}"];
        foreach ((string name, string value) in _values)
        {
            if (!names.Contains(name))
            {
                words.Add(WithoutValue.Contains(name) ? "--" + name : $"--{name}={value}");
            }
        }

        return Rest.Count > 0 ? [.. words, "--", .. Rest] : words;
    }

    private void ReadLong(string option, Queue<string> words)
    {
        int equals = option.IndexOf('=', StringComparison.Ordinal);
        string name = equals < 0 ? option : option[..equals];
        string? value = equals < 0 ? null : option[(equals + 1)..];
        if (name == "verbosity")
        {
            // Optional: getopt takes a value only behind '='.
            SetVerbosity(value ?? "");
            return;
        }

        Set(name, "--" + name, value, words);
    }

    private void ReadShort(string letters, Queue<string> words)
    {
        for (int i = 0; i < letters.Length; i++)
        {
            if (!ShortNames.TryGetValue(letters[i], out string? name))
            {
                throw new FormatException($"-{letters[i]}: this command has no such option");
            }

            if (name == "verbosity")
            {
                SetVerbosity(letters[(i + 1)..]);
                return;
            }

            bool takesRest = !WithoutValue.Contains(name);
            Set(name, $"-{letters[i]}", takesRest && i + 1 < letters.Length ? letters[(i + 1)..] : null, words);
            if (takesRest)
            {
                return;
            }
        }
    }

    private void Set(string name, string written, string? value, Queue<string> words)
    {
        if (!_known.Contains(name))
        {
            // As getopt_long does: a name may be cut short as long as only one option can be meant.
            name = _known.Where(one => written.Length > 2 && one.StartsWith(name, StringComparison.Ordinal)).ToArray() is [string only]
                ? only
                : throw new FormatException($"{written}: this command has no such option");
        }

        if (WithoutValue.Contains(name))
        {
            _values[name] = value is null ? "" : throw new FormatException($"{written} takes no value");
        }
        else
        {
            _values[name] = value ?? (words.TryDequeue(out string? next) ? next : throw new FormatException($"{written} needs a value"));
        }
    }

    /// <summary>Nothing: one more. A number: that. More letters v: one more for each.</summary>
    private void SetVerbosity(string text)
    {
        if (text.All(static letter => letter == 'v'))
        {
            Verbosity += text.Length + 1;
        }
        else
        {
            Verbosity = int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int level) ? level : throw new FormatException($"-v{text}: not a number");
        }
    }
}
