namespace PostCopy.Tests.TestBed;

/// <summary>The self-verifying heaps in tests/TestPrograms, compiled with what is installed.</summary>
internal static class ManagedHeap
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    private static readonly Lazy<Task<string[]>> Dotnet = new(static async () => await CompileDotnetAsync($"{Repository.Root}/tests/TestPrograms/Heap.cs", await OutputAsync("dotnet")));
    private static readonly Lazy<Task<string[]>> Java = new(static async () => await CompileJavaAsync($"{Repository.Root}/tests/TestPrograms/Heap.java", await OutputAsync("java")));

    /// <summary>The command that runs one, less its arguments. Skips the test where the language's tools are not installed.</summary>
    public static Task<string[]> CommandAsync(string language) => language == "dotnet" ? Dotnet.Value : Java.Value;

    // Beside the programs in C, which all hosts see.
    private static async Task<string> OutputAsync(string language) => Directory.CreateDirectory($"{await TestPrograms.DirectoryAsync()}/heap-{language}").FullName;

    /// <summary>Both of its compiler and its machine.</summary>
    public static bool HasJava => new[] { "java", "javac" }.All(static program => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(directory => File.Exists(Path.Combine(directory, program))));

    // With the compiler alone: a project would have packages to restore.
    private static async Task<string[]> CompileDotnetAsync(string source, string output)
    {
        string framework = Path.GetDirectoryName(typeof(object).Assembly.Location)!;
        string root = Path.GetFullPath(Path.Combine(framework, "../../.."));
        string? compiler = Directory.GetFiles($"{root}/sdk", "csc.dll", SearchOption.AllDirectories).FirstOrDefault();
        Skip.If(compiler is null, "the .NET SDK is not installed");
        string[] references = [.. Directory.GetFiles(framework, "System.*.dll").Where(static path => !path.Contains(".Native", StringComparison.Ordinal)).Select(static path => $"-r:{path}")];
        (await RunningCommand.RunAsync(Limit, $"{root}/dotnet", [compiler, "-nologo", "-optimize", "-nostdlib", $"-out:{output}/heap.dll", .. references, source])).EnsureSuccess();
        await File.WriteAllTextAsync($"{output}/heap.runtimeconfig.json",
            $$"""{"runtimeOptions": {"framework": {"name": "Microsoft.NETCore.App", "version": "{{Environment.Version}}" } } }""");
        // The diagnostics' socket below /tmp is this host's.
        return ["env", "DOTNET_EnableDiagnostics=0", $"{root}/dotnet", $"{output}/heap.dll"];
    }

    private static async Task<string[]> CompileJavaAsync(string source, string output)
    {
        (await RunningCommand.RunAsync(Limit, "javac", "-d", output, source)).EnsureSuccess();
        // What the JVM shares with jcmd and jps is a file of this host's.
        return ["java", "-XX:-UsePerfData", "-Xmx256m", "-cp", output, "Heap"];
    }
}
