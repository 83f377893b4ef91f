using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Support;

/// <summary>The C programs of tests/TestPrograms, compiled when they changed.</summary>
internal static class TestProgram
{
    internal static string PathOf(string name) => Path.Combine(TestPrograms.DirectoryAsync().GetAwaiter().GetResult(), name);
}
