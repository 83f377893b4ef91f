using static PostCopy.Tests.Images.SyntheticImages;

namespace PostCopy.Tests.Images;

public sealed class ProcessTreeTests : IDisposable
{
    private readonly SyntheticImages _images = new();

    public void Dispose() => _images.Dispose();

    [Fact]
    public void A_tree_that_is_none_is_refused()
    {
        _images.Core(2, state: 2);

        _images.Tree();
        _images.Refused("pstree.img");
        _images.Tree(Task(1, 7));
        _images.Refused("pstree.img");
        _images.Tree(Task(1, 0), Task(2, 3));
        _images.Refused("pstree.img");
        _images.Tree(Task(1, 0), Task(2, 2));
        _images.Refused("pstree.img");
        _images.Tree(Task(1, 0), Task(2, 1), Task(2, 1));
        _images.Refused("pstree.img");
        _images.Tree(Task(0, 0));
        _images.Refused("pstree.img");
    }

    [Fact]
    public void A_missing_or_stateless_core_is_refused()
    {
        _images.Tree(Task(1, 0), Task(2, 1));
        Assert.Contains("no such image file", _images.Refused("core-2.img").Message, StringComparison.Ordinal);

        _images.File("core-2.img", CoreMagic, new ProtoWriter().Number(1, 1));
        Assert.Contains("tc is missing", _images.Refused("core-2.img").Message, StringComparison.Ordinal);

        _images.Core(2, state: 5);
        Assert.Contains("task_state 5", _images.Refused("core-2.img").Message, StringComparison.Ordinal);
    }

    /// <summary>The kernel keeps 15 bytes of a name, and may cut it in the midst of a character; prctl(2) takes any bytes.</summary>
    [Fact]
    public void A_name_may_be_any_bytes()
    {
        _images.Core(1, state: 1, [0xd1, 0x80, 0xd0, 0xb5, 0xd0]);
        Assert.Equal("\u0440\u0435\ufffd", _images.Open().Processes[0].Command);
    }

    [Fact]
    public void A_name_cannot_carry_terminal_escapes()
    {
        _images.Core(1, state: 1, command: "a\u001b[2Jb\u009bc");

        Assert.Equal("a?[2Jb?c", _images.Open().Processes[0].Command);
    }

    [Theory]
    [InlineData(1u, 1u, "run", "img_version")]
    [InlineData(2u, 3u, "ab-12", "network_lock_method")]
    [InlineData(2u, 1u, "x; flush ruleset", "dump_criu_run_id")]
    public void An_inventory_out_of_bounds_is_refused(uint version, uint networkLock, string runId, string field)
    {
        _images.Inventory(new ProtoWriter().Number(1, version).Number(11, networkLock).Text(13, runId));

        Assert.Contains(field, _images.Refused("inventory.img").Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_root_has_its_own_network_namespace_when_its_id_differs_from_criu_s()
    {
        _images.Inventory(new ProtoWriter().Number(1, 2).Message(3, new ProtoWriter().Number(6, 2)));
        Assert.False(_images.Open().HasOwnNetworkNamespace);
        Assert.Null(_images.Open().Inventory.CriuRunId);

        _images.Inventory(new ProtoWriter().Number(1, 2).Message(3, new ProtoWriter().Number(6, 1)));
        Assert.True(_images.Open().HasOwnNetworkNamespace);
    }
}
