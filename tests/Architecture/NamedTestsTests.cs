using System.Text.RegularExpressions;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Architecture;

/// <summary>The tests that docs/operations.md names exist: what it says is what is tried.</summary>
public sealed partial class NamedTestsTests
{
    [Fact]
    public void Every_test_that_is_named_exists()
    {
        string text = File.ReadAllText($"{Repository.Root}/docs/operations.md");
        Dictionary<string, Type> classes = typeof(NamedTestsTests).Assembly.GetTypes().Where(static type => type.IsPublic && type.Name.EndsWith("Tests", StringComparison.Ordinal)).ToDictionary(static type => type.Name);
        (string Class, string Method)[] named = [.. Name().Matches(text).Select(static match => (match.Groups["class"].Value, match.Groups["method"].Value))];
        Assert.True(named.Length > 20, "the names are not found any more");
        string[] missing = [.. named.Where(test => !classes.TryGetValue(test.Class, out Type? type) || (test.Method.Length > 0 && type.GetMethod(test.Method) is null)).Select(static test => $"{test.Class}.{test.Method}")];
        Assert.Empty(missing);
    }

    [GeneratedRegex(@"`(\w+/)?(?<class>\w+Tests)(\.(?<method>\w+))?`")]
    private static partial Regex Name();
}
