using PostCopy.Agent;
using PostCopy.Control.Messages;

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
        Assert.Empty(MemoryRoom.Refusals(container, promisedBytes: 0));
        string refusal = Assert.Single(MemoryRoom.Refusals(container, promisedBytes: 1UL << 60));
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
        string path = Path.Combine(_bundle.FullName, "config.json");
        File.WriteAllText(path, config);
        Assert.Equal(limit, MemoryRoom.LimitOf(path));
    }

    [Fact]
    public void A_limit_below_what_is_needed_says_how_much_that_is_and_why()
    {
        File.WriteAllText(Path.Combine(_bundle.FullName, "config.json"), """{"linux": {"resources": {"memory": {"limit": 1048576}}}}""");
        string refusal = Assert.Single(MemoryRoom.Refusals(new Prepare { Bundle = _bundle.FullName, MemoryBytes = 5 << 20, MemoryBytesAtSource = 3 << 20 }, promisedBytes: 0));
        Assert.StartsWith("the container needs 5 MiB of memory here (3 MiB on its source", refusal, StringComparison.Ordinal);
    }
}
