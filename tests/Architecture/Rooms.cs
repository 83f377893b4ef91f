namespace PostCopy.Tests.Architecture;

/// <summary>
/// Who may depend on whom. A room is a folder below a project in <c>src</c>; its namespace is <c>PostCopy.&lt;Folder&gt;</c>. A room may name itself
/// and what stands here; a new room needs a new line, and an entry that nobody uses goes.
/// </summary>
internal static class Rooms
{
    /// <summary>The base class library and nothing else.</summary>
    private static readonly string[] Nothing = [];

    internal static readonly Room[] All =
    [
        // The vocabulary and the contract: could be moved into a package of their own by moving the folder.
        new("PageServer", "Memory", Nothing),
        new("PageServer", "Wire", ["Memory"]),
        new("PageServer", "HandOff", Nothing),
        new("PageServer", "Linux", Nothing),
        new("PageServer", "Buffers", ["Wire", "Linux", "Memory"]),
        new("PageServer", "Certificates", Nothing),
        new("PageServer", "Transport", ["Certificates", "Wire", "Buffers", "Memory"]),
        new("PageServer", "Images", ["Memory"]),
        new("PageServer", "Pages", ["Images", "Linux", "Memory"]),
        new("PageServer", "Serve", ["Memory", "Pages", "Wire"]),
        new("PageServer", "Sessions", ["HandOff", "Linux", "Transport"]),
        new("PageServer", "Criu", ["HandOff", "Linux", "Sessions"]),
        new("PageServer", "Runc", ["Criu", "Pages", "Linux"]),
        new("PageServer", "Trees", ["Criu", "Pages", "Linux"]),
        new("PageServer", "CriuWire", ["Transport", "Memory"]),
        new(
            "PageServer",
            "CriuServe",
            ["HandOff", "CriuWire", "Serve", "Pages", "Criu", "Sessions", "Runc", "Images", "Transport", "Buffers", "Linux", "Memory"]),
        new("PageServer", "Check", ["Linux", "Memory"]),
        new("PageServer", "Control", ["Wire", "Transport", "Linux"]),
        // What is copied before the freeze.
        new("PageServer", "Tracking", ["Pages", "Linux", "Memory"]),
        new("PageServer", "PreCopy", ["Tracking", "Transport", "Wire", "Linux", "Memory"]),
        new(
            "PageServer",
            "Migrate",
            ["PreCopy", "Control", "Runc", "Trees", "Criu", "HandOff", "Serve", "Pages", "Images", "Transport", "Certificates", "Wire", "Buffers", "Check", "Linux", "Memory", "Sessions"]),

        // The destination. PageServer never names one of these: see PageServer's own lines.
        new("LazyRestore", "Userfault", ["Linux", "Memory"]),
        new("LazyRestore", "Faults", ["Userfault", "Linux", "Memory"]),
        new("LazyRestore", "Staging", ["Faults", "Transport", "Wire", "Linux", "Memory"]),
        new("LazyRestore", "Keeper", ["Userfault", "Faults", "HandOff", "Linux"]),
        new("LazyRestore", "Restore", ["Faults", "Userfault", "Control", "Transport", "Wire", "Pages", "Linux", "Memory"]),
        new(
            "LazyRestore",
            "Agent",
            [
                "Restore", "Staging", "Faults", "Userfault", "Keeper", "Images", "Criu", "Runc", "Trees", "HandOff", "Control", "Transport", "Wire", "Buffers", "Check", "Linux",
                "Memory", "Pages", "Sessions", "Certificates",
            ]),

        new("LazyRestore", "LazyPages", ["Restore", "Faults", "Userfault", "Keeper", "CriuWire", "Serve", "Pages", "Images", "Transport", "Linux", "Memory"]),

        // The command line: sees what is public of both libraries.
        new("Cli", "Display", ["Check", "Images", "Migrate", "PreCopy", "Memory"]),
        new("Cli", "Hosting", Nothing),
        new(
            "Cli",
            "Commands",
            ["Display", "Hosting", "Tracking", "LazyPages", "CriuServe", "CriuWire", "Linux", "Agent", "Keeper", "Migrate", "Check", "Images", "Transport", "Sessions", "Certificates"]),
    ];

    /// <summary>Packages that only some projects may name: the namespace as it begins, and the projects.</summary>
    internal static readonly (string Namespace, string[] Projects)[] Packages =
    [
        ("Serilog", ["Cli"]),
        ("Spectre.Console", ["Cli"]),
        ("System.CommandLine", ["Cli"]),
        ("Microsoft.Extensions.Hosting", ["Cli", "LazyRestore"]),
    ];

    /// <summary>
    /// PageServer may use the interfaces of Microsoft.Extensions.Hosting (the Abstractions package has the same namespace): the types of the
    /// full package are what it may not name.
    /// </summary>
    internal static readonly string[] HostingBeyondAbstractions =
        ["HostApplicationBuilder", "HostBuilder", "Host.Create", "ConsoleLifetime", "UseConsoleLifetime", "RunConsoleAsync", "UseSystemd", "AddSystemd"];

    /// <summary>These rooms name nothing beyond the base class library and their rooms: no packages at all.</summary>
    internal static readonly string[] WithoutPackages = ["Memory", "Wire", "HandOff"];
}

/// <summary>One room and the rooms it may name.</summary>
internal sealed record Room(string Project, string Name, string[] MayName);
