namespace PostCopy.Tests.TestBed;

/// <summary>The self-verifying heaps in tests/TestPrograms, compiled with what is installed.</summary>
internal static class ManagedHeap
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    /// <summary>The command that runs one, less its arguments. Skips the test where the language's tools are not installed.</summary>
    public static async Task<string[]> CommandAsync(Lab lab, string language)
    {
        string source = $"{Repository.Root}/tests/TestPrograms/Heap.{(language == "dotnet" ? "cs" : "java")}";
        string output = $"{lab.Shared}/heap-{language}";
        Directory.CreateDirectory(output);
        return language == "dotnet" ? await CompileDotnetAsync(source, output) : await CompileJavaAsync(source, output);
    }

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
