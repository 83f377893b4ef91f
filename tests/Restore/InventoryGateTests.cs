using System.Diagnostics;
using PostCopy.Restore;
using PostCopy.Tests.TestBed;
using PostCopy.Wire;

namespace PostCopy.Tests.Restore;

/// <summary>With a reader that is another process, as CRIU is.</summary>
public sealed class InventoryGateTests : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    private readonly string _directory = Directory.CreateTempSubdirectory("postcopy-gate-").FullName;

    private string Inventory => Path.Combine(_directory, InventoryGate.ImageName);

    [Fact]
    public async Task A_reader_waits_for_the_inventory_and_the_next_finds_it_as_a_file()
    {
        using InventoryGate gate = new(_directory);
        using Process early = await ReaderThatWaitsAsync();
        await File.WriteAllTextAsync(gate.ArrivingPath, "inventory");
        gate.Open();
        Assert.Equal(("inventory", 0), await EndOfAsync(early));
        using Process late = Read();
        Assert.Equal(("inventory", 0), await EndOfAsync(late));
        Assert.Equal([Inventory], Directory.GetFileSystemEntries(_directory));
    }

    [Fact]
    public async Task A_reader_whose_inventory_does_not_come_reads_nothing()
    {
        InventoryGate gate = new(_directory);
        using Process early = await ReaderThatWaitsAsync();
        gate.Dispose();
        Assert.Equal(("", 0), await EndOfAsync(early));
    }

    [Fact]
    public async Task Readers_of_a_gate_that_a_dead_process_closed_are_let_go()
    {
        new InventoryGate(_directory).Dispose();
        using Process early = Read();
        await Condition.WaitAsync(() => IsAt(early, "wait_for_partner"), Limit, "the reader to wait for somebody who writes");
        InventoryGate.LetReadersFail(_directory);
        Assert.Equal(("", 0), await EndOfAsync(early));
        using Process late = Read();
        Assert.Equal(("", 1), await EndOfAsync(late));
    }

    [Fact]
    public void An_inventory_that_came_as_a_file_stays()
    {
        File.WriteAllText(Inventory, "inventory");
        InventoryGate.LetReadersFail(_directory);
        Assert.Equal("inventory", File.ReadAllText(Inventory));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(4097)]
    public void A_size_that_no_inventory_has_is_refused(int bytes)
    {
        using InventoryGate gate = new(_directory);
        File.WriteAllBytes(gate.ArrivingPath, new byte[bytes]);
        Assert.Contains($"inventory.img has {bytes} bytes", Assert.Throws<ProtocolException>(gate.Open).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_inventory_that_came_before_is_refused()
    {
        File.WriteAllText(Inventory, "inventory");
        Assert.Contains("has come before", Assert.Throws<ProtocolException>(() => new InventoryGate(_directory)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Images_without_an_inventory_are_refused()
    {
        using InventoryGate gate = new(_directory);
        Assert.Throws<ProtocolException>(gate.Open);
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private async Task<Process> ReaderThatWaitsAsync()
    {
        Process reader = Read();
        await Condition.WaitAsync(() => Directory.GetFiles($"/proc/{reader.Id}/fd").Any(fd => new FileInfo(fd).LinkTarget == Inventory), Limit, "the reader to open it");
        return reader;
    }

    private Process Read() => Process.Start(new ProcessStartInfo("cat", Inventory) { RedirectStandardOutput = true, RedirectStandardError = true })!;

    private static bool IsAt(Process process, string kernelFunction) => File.ReadAllText($"/proc/{process.Id}/wchan").Contains(kernelFunction, StringComparison.Ordinal);

    private static async Task<(string Output, int ExitCode)> EndOfAsync(Process reader)
    {
        string output = await reader.StandardOutput.ReadToEndAsync().WaitAsync(Limit);
        await reader.WaitForExitAsync().WaitAsync(Limit);
        return (output, reader.ExitCode);
    }
}
