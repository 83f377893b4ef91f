using System.Text.RegularExpressions;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Architecture;

/// <summary>The tests that the documents name exist: what they say is what is tried.</summary>
public sealed partial class NamedTestsTests
{
    [Theory]
    [InlineData("operations.md")]
    [InlineData("GUARANTEES.md")]
    public void Every_test_that_is_named_exists(string document)
    {
        string text = File.ReadAllText($"{Repository.Root}/docs/{document}");
        Dictionary<string, Type> classes = typeof(NamedTestsTests).Assembly.GetTypes().Where(static type => type.IsPublic && type.Name.EndsWith("Tests", StringComparison.Ordinal)).ToDictionary(static type => type.Name);
        (string Class, string Method)[] named = [.. Name().Matches(text).Select(static match => (match.Groups["class"].Value, match.Groups["method"].Value))];
        Assert.True(named.Length > 20, "the names are not found any more");
        string[] missing = [.. named.Where(test => !classes.TryGetValue(test.Class, out Type? type) || (test.Method.Length > 0 && type.GetMethod(test.Method) is null)).Select(static test => $"{test.Class}.{test.Method}")];
        Assert.Empty(missing);
    }

    [GeneratedRegex(@"`(\w+/)?(?<class>\w+Tests)(\.(?<method>\w+))?`")]
    private static partial Regex Name();
}
