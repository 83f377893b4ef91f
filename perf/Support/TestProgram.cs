using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Support;

/// <summary>The C programs of tests/TestPrograms, compiled when they changed.</summary>
internal static class TestProgram
{
    private static readonly Lazy<string> Directory = new(() => RunningCommand
        .RunAsync(TimeSpan.FromMinutes(1), Repository.LabScript("programs.sh")).GetAwaiter().GetResult().EnsureSuccess().Output.Trim());

    internal static string PathOf(string name) => Path.Combine(Directory.Value, name);
}
