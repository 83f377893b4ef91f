using System.Text.RegularExpressions;

namespace PostCopy.Tests.Architecture;

public partial class RoomTests
{
    private const int MaxLinesOfAFile = 600;

    private static readonly Dictionary<string, Room> ByName = Rooms.All.ToDictionary(room => room.Name);

    /// <summary>The rooms and outside namespaces a text names: in using directives, and qualified in between.</summary>
    internal static IEnumerable<string> RoomsNamedIn(string code) =>
        RoomName().Matches(code).Select(match => match.Groups["room"].Value).Where(name => name != "Tests").Distinct();

    /// <summary>
    /// Inside <c>namespace PostCopy.X</c>, <c>Wire.Frame</c> reaches PostCopy.Wire without naming PostCopy; a property called Wire does not,
    /// so what follows must be a type of that room.
    /// </summary>
    internal static IEnumerable<string> RoomsReachedIn(string code, IReadOnlySet<string> roomTypes) =>
        from Match match in ShortName().Matches(code)
        where roomTypes.Contains(match.Value)
        select match.Groups["room"].Value;

    private static readonly HashSet<string> RoomTypes =
    [
        .. from file in SourceTree.Files
           from Match match in TypeDeclaration().Matches(file.Code)
           select $"{file.Room}.{match.Groups["name"].Value}",
    ];

    private static void NoneOf(IEnumerable<string> problems) =>
        Assert.True(!problems.Any(), string.Join('\n', problems.Prepend("The rule of tests/Architecture/Rooms.cs is broken:")));

    [Fact]
    public void Every_folder_is_a_known_room_and_gives_its_name_to_the_namespace() => NoneOf(
        from file in SourceTree.Files
        where file.Room != ""
        let room = ByName.GetValueOrDefault(file.Room)
        let space = NamespaceLine().Match(file.Code).Groups["name"].Value
        where room?.Project != file.Project || space != $"PostCopy.{file.Room}"
        select room?.Project != file.Project
            ? $"src/{file.Path}: {file.Room} is no room of {file.Project}; add it to the table with the rooms it may name"
            : $"src/{file.Path}: its namespace is {space}, the folder says PostCopy.{file.Room}");

    [Fact]
    public void Only_the_program_lies_outside_a_room() => NoneOf(
        from file in SourceTree.Files
        where file.Room == "" && !(file.Project == "Cli" && file.Path.Split('/').Length == 2)
        select $"src/{file.Path}: lies in no room");

    [Fact]
    public void A_room_names_only_the_rooms_it_may() => NoneOf(
        from file in SourceTree.Files
        where ByName.ContainsKey(file.Room)
        let allowed = ByName[file.Room].MayName.Append(file.Room)
        from name in RoomsNamedIn(file.Code).Concat(RoomsReachedIn(file.Code, RoomTypes)).Distinct()
        where !allowed.Contains(name)
        select $"src/{file.Path}: {file.Room} names {name}; it may name {string.Join(", ", allowed)}");

    [Fact]
    public void A_room_may_name_no_room_that_it_does_not_name() => NoneOf(
        from room in Rooms.All
        let named = SourceTree.Files.Where(file => file.Room == room.Name).SelectMany(static file => RoomsNamedIn(file.Code).Concat(RoomsReachedIn(file.Code, RoomTypes))).ToHashSet()
        from name in room.MayName
        where !named.Contains(name)
        select $"{room.Name} may name {name}, and does not");

    [Fact]
    public void The_table_is_consistent()
    {
        NoneOf(
            from room in Rooms.All
            from name in room.MayName
            where !ByName.ContainsKey(name)
            select $"{room.Name} may name {name}, which is no room");

        // Cli sees both libraries, LazyRestore sees PageServer, nothing points back.
        string[] layers = ["PageServer", "LazyRestore", "Cli"];
        NoneOf(
            from room in Rooms.All
            from name in room.MayName
            where Array.IndexOf(layers, ByName[name].Project) > Array.IndexOf(layers, room.Project)
            select $"{room.Name} of {room.Project} may name {name} of {ByName[name].Project}: that points back");

        foreach (Room room in Rooms.All)
            Assert.False(Reaches(room.Name, room.Name, []), $"{room.Name} depends on itself through others");

        static bool Reaches(string from, string target, HashSet<string> seen) =>
            ByName[from].MayName.Any(next => next == target || (seen.Add(next) && Reaches(next, target, seen)));
    }

    [Fact]
    public void Packages_are_named_only_where_they_belong()
    {
        NoneOf(
            from file in SourceTree.Files
            from rule in Rooms.Packages
            where !rule.Projects.Contains(file.Project) && rule.Namespace != "Microsoft.Extensions.Hosting"
            where Regex.IsMatch(file.Code, $@"\b{Regex.Escape(rule.Namespace)}\b")
            select $"src/{file.Path}: only {string.Join(" and ", rule.Projects)} may name {rule.Namespace}");
        NoneOf(
            from file in SourceTree.Files
            where file.Project == "PageServer"
            from type in Rooms.HostingBeyondAbstractions
            where file.Code.Contains(type, StringComparison.Ordinal)
            select $"src/{file.Path}: {type} is not in Microsoft.Extensions.Hosting.Abstractions, the only part PageServer may use");
    }

    [Fact]
    public void The_innermost_rooms_use_the_base_class_library_alone() => NoneOf(
        from file in SourceTree.Files
        where Rooms.WithoutPackages.Contains(file.Room)
        from Match match in UsingLine().Matches(file.Code)
        let name = match.Groups["name"].Value
        where name != "System" && !name.StartsWith("System.", StringComparison.Ordinal) && !name.StartsWith("PostCopy.", StringComparison.Ordinal)
        select $"src/{file.Path}: using {name}");

    [Fact]
    public void No_file_is_too_long_to_read() => NoneOf(
        from file in SourceTree.Files
        where file.Lines > MaxLinesOfAFile
        select $"src/{file.Path}: {file.Lines} lines, at most {MaxLinesOfAFile}; split it by concern");

    [Theory]
    [InlineData("using PostCopy.Wire;", "Wire")]
    [InlineData("using static PostCopy.Wire.Frame;", "Wire")]
    [InlineData("using F = PostCopy.Wire.Frame;", "Wire")]
    [InlineData("global::PostCopy.Wire.Frame x;", "Wire")]
    [InlineData("x = PostCopy.Wire.Frame.Parse(y);", "Wire")]
    [InlineData("// see PostCopy.Wire", null)]
    [InlineData("/* PostCopy.Wire */", null)]
    [InlineData("string s = \"PostCopy.Wire\";", null)]
    [InlineData("string s = \"\"\"a \"PostCopy.Wire\" b\"\"\";", null)]
    public void What_counts_as_naming_a_room(string text, string? room) =>
        Assert.Equal(room is null ? [] : [room], RoomsNamedIn(SourceTree.CodeOnly(text)));

    [Theory]
    [InlineData("Wire.Frame x;", "Wire")]
    [InlineData("x = Wire.Frame.Parse(y);", "Wire")]
    [InlineData("x.Wire.Send();", null)]
    [InlineData("System.Buffers.Pool x;", null)]
    [InlineData("Wire.Length", null)]
    [InlineData("Other.Frame x;", null)]
    public void What_counts_as_reaching_a_room(string text, string? room) =>
        Assert.Equal(room is null ? [] : [room], RoomsReachedIn(SourceTree.CodeOnly(text), new HashSet<string> { "Wire.Frame", "Buffers.Pool" }));

    [GeneratedRegex(@"\bPostCopy\.(?<room>\w+)")]
    private static partial Regex RoomName();

    // Behind a dot it is a member (x.Wire.Send) or the end of a longer namespace (System.Buffers).
    [GeneratedRegex(@"(?<![.\w])(?<room>[A-Z]\w*)\.[A-Z]\w*")]
    private static partial Regex ShortName();

    [GeneratedRegex(@"\b(?:class|struct|interface|enum|record|delegate \S+) (?<name>[A-Z]\w*)")]
    private static partial Regex TypeDeclaration();

    [GeneratedRegex(@"^namespace (?<name>[\w.]+)", RegexOptions.Multiline)]
    private static partial Regex NamespaceLine();

    [GeneratedRegex(@"^(?:global )?using (?:static )?(?:\w+ = )?(?:global::)?(?<name>[\w.]+)", RegexOptions.Multiline)]
    private static partial Regex UsingLine();
}
