using PostCopy.Agent;

namespace PostCopy.Tests.Agent;

public sealed class BundlePathTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("postcopy-wire-bundle-").FullName;
    private readonly string _root;

    public BundlePathTests()
    {
        _root = Bundle("root/web")[..^4];
        Bundle("outside");
        Bundle("outside/below");
        Bundle("root-with-the-same-beginning");
    }

    [Fact]
    public void A_bundle_below_the_root_is_taken()
    {
        Assert.Null(BundlePath.Refusal(In("root/web"), _root));
        Assert.Null(BundlePath.Refusal(In("root/web/"), _root + "/"));
        Assert.Null(BundlePath.Refusal(In("root/./web"), _root));
        Assert.Null(BundlePath.Refusal(In("outside"), null));

        // The root's own path, and links that stay inside, may be what they are.
        Link("root/inner", "web");
        Link("elsewhere", "root");
        Assert.Null(BundlePath.Refusal(In("root/inner"), _root));
        Assert.Null(BundlePath.Refusal(In("elsewhere/web"), _root));
        Assert.Null(BundlePath.Refusal(In("root/web"), In("elsewhere")));
    }

    [Fact]
    public void What_is_not_below_is_refused()
    {
        Bundle("root");
        AssertOutside(In("outside"));
        AssertOutside(In("root-with-the-same-beginning"));
        AssertOutside(_root);
    }

    [Fact]
    public void Links_that_lead_out_are_refused_however_many_there_are()
    {
        Link("root/absolute", In("outside"));
        Link("root/relative", "../outside");
        Link("root/chain", "relative");
        // The link's own text stays below the root; what it goes through does not.
        Link("root/through", "relative/below");
        Link("root/up", "relative/../outside");
        foreach (string bundle in (string[])["root/absolute", "root/relative", "root/chain", "root/through", "root/up", "root/relative/below"])
        {
            AssertOutside(In(bundle));
        }
    }

    [Fact]
    public void Links_in_a_circle_are_no_bundle()
    {
        Link("root/a", "b");
        Link("root/b", "a");
        Assert.NotNull(BundlePath.Refusal(In("root/a"), _root));
    }

    [Theory]
    [InlineData("")]
    [InlineData("web")]
    [InlineData("./web")]
    [InlineData("/bundles/nul\0")]
    [InlineData("/bundles/../etc")]
    [InlineData("/bundles/..")]
    public void Only_absolute_paths_that_do_not_climb_are_looked_at(string bundle) => Assert.Contains("is not absolute, or climbs", BundlePath.Refusal(bundle, null));

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private string In(string path) => Path.Combine(_directory, path);

    private string Bundle(string path)
    {
        string bundle = Directory.CreateDirectory(In(path)).FullName;
        File.WriteAllText(Path.Combine(bundle, "config.json"), "{}");
        return bundle;
    }

    private void Link(string path, string target) => File.CreateSymbolicLink(In(path), target);

    private void AssertOutside(string bundle) => Assert.Contains("is not below", BundlePath.Refusal(bundle, _root));
}
