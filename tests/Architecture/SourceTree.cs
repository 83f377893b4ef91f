using System.Text.RegularExpressions;

namespace PostCopy.Tests.Architecture;

/// <summary>The C# files below <c>src</c>, as a reader would find them.</summary>
internal static partial class SourceTree
{
    internal static readonly string Root = FindRoot();

    internal static readonly SourceFile[] Files =
    [
        .. Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.cs", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(Path.Combine(Root, "src"), path))
            .Where(path => !path.Split('/').Any(part => part is "bin" or "obj"))
            .Order(StringComparer.Ordinal)
            .Select(path => new SourceFile(path, File.ReadAllText(Path.Combine(Root, "src", path)))),
    ];

    private static string FindRoot()
    {
        DirectoryInfo? directory = new(AppContext.BaseDirectory);
        while (directory is not null && !File.Exists(Path.Combine(directory.FullName, "PostCopy.sln")))
            directory = directory.Parent;
        return directory?.FullName ?? throw new DirectoryNotFoundException($"No PostCopy.sln above {AppContext.BaseDirectory}.");
    }

    /// <summary>Comments and string literals are replaced by blanks: what they mention is no dependency.</summary>
    internal static string CodeOnly(string text) => CommentsAndStrings().Replace(text, match => new string(' ', match.Length));

    [GeneratedRegex("""
        //[^\n]*
        | /\*.*?\*/
        | \$*(?<raw>"{3,}).*?\k<raw>
        | \$?@\$?"(?:[^"]|"")*"
        | "(?:[^"\\\n]|\\.)*"
        | '(?:[^'\\\n]|\\.)+'
        """, RegexOptions.Singleline | RegexOptions.IgnorePatternWhitespace)]
    private static partial Regex CommentsAndStrings();
}

/// <summary>One file; <paramref name="Path"/> is relative to <c>src</c>, for example <c>PageServer/Wire/FrameReader.cs</c>.</summary>
internal sealed record SourceFile(string Path, string Text)
{
    internal string Project => Path.Split('/')[0];

    /// <summary>The folder below the project; empty for a file beside the project file.</summary>
    internal string Room => Path.Split('/') is { Length: > 2 } parts ? parts[1] : "";

    internal string Code { get; } = SourceTree.CodeOnly(Text);

    internal int Lines => Text.AsSpan().Count('\n');
}
