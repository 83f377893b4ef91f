using System.Reflection;
using PublicApiGenerator;

namespace PostCopy.Tests.Architecture;

/// <summary>What others can compile against, one text file a library: a change of it shows in review.</summary>
public class PublicApiTests
{
    private const string AcceptVariable = "POSTCOPY_ACCEPT_API";

    [Theory]
    [InlineData("PageServer")]
    [InlineData("LazyRestore")]
    public void The_public_surface_is_the_accepted_one(string library)
    {
        string file = Path.Combine(SourceTree.Root, "tests", "Architecture", $"PublicApi.{library}.txt");
        string actual = Assembly.Load($"PostCopy.{library}").GeneratePublicApi(new ApiGeneratorOptions { IncludeAssemblyAttributes = false })
            .ReplaceLineEndings("\n").TrimEnd('\n') + "\n";
        if (Environment.GetEnvironmentVariable(AcceptVariable) == "1")
            File.WriteAllText(file, actual);

        string accepted = File.Exists(file) ? File.ReadAllText(file) : "";
        Assert.True(
            accepted == actual,
            $"The public surface of PostCopy.{library} changed:\n{Difference(accepted, actual)}\nIf that is meant, accept it with:\n"
                + $"  {AcceptVariable}=1 dotnet test tests/Tests.csproj --filter {nameof(PublicApiTests)}");
    }

    private static string Difference(string accepted, string actual)
    {
        string[] before = accepted.Split('\n');
        string[] after = actual.Split('\n');
        return string.Join('\n', before.Except(after).Select(line => "- " + line.Trim()).Concat(after.Except(before).Select(line => "+ " + line.Trim())));
    }
}
