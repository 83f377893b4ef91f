using PostCopy.Agent;
using PostCopy.Control.Messages;
using PostCopy.Runc;

namespace PostCopy.Tests.Agent;

/// <summary>Whether there is room for what is to come.</summary>
public sealed class ArrivingMemoryTests : IDisposable
{
    private const ulong Gigabyte = 1UL << 30;
    private readonly DirectoryInfo _bundle = Directory.CreateTempSubdirectory("postcopy-bundle-");

    public void Dispose() => _bundle.Delete(recursive: true);

    [Fact]
    public void What_others_will_fill_is_not_promised_twice()
    {
        Prepare container = new() { MemoryBytes = 1 << 20 };
        Assert.Empty(MemoryRoom.Refusals(container, promisedBytes: 0, bundle: null));
        string refusal = Assert.Single(MemoryRoom.Refusals(container, promisedBytes: 1UL << 60, bundle: null));
        Assert.Contains("are for what is arriving already", refusal, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"linux": {"resources": {"memory": {"limit": 1073741824}}}}""", Gigabyte)]
    [InlineData("""{"linux": {"resources": {"memory": {"limit": -1}}}}""", null)]
    [InlineData("""{"linux": {"resources": {"memory": {"limit": "1G"}}}}""", null)]
    [InlineData("""{"linux": {"resources": {"devices": []}}}""", null)]
    [InlineData("""{"linux": []}""", null)]
    [InlineData("[1, 2]", null)]
    [InlineData("no JSON", null)]
    public void A_bundles_limit_is_read_from_whatever_is_there(string config, ulong? limit)
    {
        File.WriteAllText(Path.Combine(_bundle.FullName, "config.json"), config);
        Assert.Equal(limit, BundleConfig.TryRead(_bundle.FullName)?.MemoryLimitBytes);
    }

    [Fact]
    public void A_limit_below_what_is_needed_says_how_much_that_is_and_why()
    {
        File.WriteAllText(Path.Combine(_bundle.FullName, "config.json"), """{"linux": {"resources": {"memory": {"limit": 1048576}}}}""");
        string refusal = Assert.Single(MemoryRoom.Refusals(new Prepare { MemoryBytes = 5 << 20, MemoryBytesAtSource = 3 << 20 }, promisedBytes: 0, BundleConfig.TryRead(_bundle.FullName)));
        Assert.StartsWith("the container needs 5 MiB of memory here (3 MiB on its source", refusal, StringComparison.Ordinal);
    }

    [Fact]
    public void What_runc_would_say_only_once_the_container_stands_still_is_said_before()
    {
        File.WriteAllText(
            Path.Combine(_bundle.FullName, "config.json"),
            """{"process": {"terminal": true}, "root": {"path": "nowhere"}, "linux": {"namespaces": [{"type": "pid"}, {"type": "network", "path": "/run/netns/nowhere"}, {"type": "ipc", "path": "/proc/self/ns/ipc"}]}}""");
        string[] refusals = [.. ArrivalChecks.BundleRefusals(BundleConfig.TryRead(_bundle.FullName)!)];
        Assert.Equal(3, refusals.Length);
        Assert.Contains("terminal", refusals[0], StringComparison.Ordinal);
        Assert.Contains($"{_bundle.FullName}/nowhere", refusals[1], StringComparison.Ordinal);
        Assert.Contains("/run/netns/nowhere", refusals[2], StringComparison.Ordinal);
    }
}
