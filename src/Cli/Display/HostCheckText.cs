using PostCopy.Check;

namespace PostCopy.Display;

/// <summary>A report for people: one line an item, below a problem its consequence and its cure, the verdict at the end.</summary>
internal static class HostCheckText
{
    private const string Indent = "            ";
    private const int MinWidth = 60;
    private const int WidthWithoutTerminal = 120;

    internal static void Write(TextWriter output, HostCheckReport report, string host)
    {
        bool terminal = output == Console.Out && !Console.IsOutputRedirected;
        bool colours = terminal && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        int width = Math.Max(MinWidth, terminal ? Console.WindowWidth : WidthWithoutTerminal);
        int idWidth = report.Items.Max(item => item.Id.Length);

        foreach (HostCheckItem item in report.Items)
        {
            (string mark, int colour) = item.Result switch
            {
                HostCheckResult.Ok => ("ok", 32),
                HostCheckResult.Degraded => ("degraded", 33),
                _ => ("MISSING", 31),
            };
            mark = mark.PadRight("degraded".Length);
            string paint = colours ? $"\e[{colour}m{mark}\e[0m" : mark;
            string found = Wrap(item.Found, width, "".PadRight(mark.Length + idWidth + 4));
            output.WriteLine($"{paint}  {item.Id.PadRight(idWidth)}  {found}");
            if (item.Result == HostCheckResult.Ok)
            {
                continue;
            }

            output.WriteLine($"{Indent}{Wrap(item.Consequence!, width, Indent)}");
            output.WriteLine($"{Indent}Cure: {Wrap(item.Cure!, width, Indent + "      ")}");
        }

        output.WriteLine();
        output.WriteLine(Verdict(report, host));
    }

    internal static string Verdict(HostCheckReport report, string host) => (report.CanSend, report.CanReceive) switch
    {
        (true, true) => $"{host} can send and receive containers",
        (true, false) => $"{host} can send containers, but cannot receive any",
        (false, true) => $"{host} can receive containers, but cannot send any",
        (false, false) => $"{host} can neither send nor receive containers",
    };

    /// <summary>Breaks at blanks, so that no line exceeds the width; the first line starts where the indent ends.</summary>
    private static string Wrap(string text, int width, string indent)
    {
        List<string> lines = [""];
        foreach (string word in text.Split(' '))
        {
            if (lines[^1].Length > 0 && indent.Length + lines[^1].Length + 1 + word.Length > width)
            {
                lines.Add("");
            }

            lines[^1] = lines[^1].Length == 0 ? word : $"{lines[^1]} {word}";
        }
        return string.Join('\n' + indent, lines);
    }
}
