using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>Each of our two halves with each of CRIU's, under criu and under runc; the program checks every byte of its memory.</summary>
public sealed class PairingTests
{
    [SkippableTheory]
    [InlineData(Player.Criu, Player.Criu, Kind.Tree)]
    [InlineData(Player.Criu, Player.PostCopy, Kind.Tree)]
    [InlineData(Player.PostCopy, Player.Criu, Kind.Tree)]
    [InlineData(Player.PostCopy, Player.PostCopy, Kind.Tree)]
    [InlineData(Player.Criu, Player.Criu, Kind.Runc)]
    [InlineData(Player.Criu, Player.PostCopy, Kind.Runc)]
    [InlineData(Player.PostCopy, Player.Criu, Kind.Runc)]
    [InlineData(Player.PostCopy, Player.PostCopy, Kind.Runc)]
    public async Task A_program_moves_whole(Player server, Player daemon, Kind kind)
    {
        await using Scene scene = await Scene.SetAsync(kind);
        await using ReadyCommand dump = await scene.DumpAsync(server);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(daemon);
        (await scene.RestoreAsync()).EnsureSuccess();

        await scene.Program.VerifyAsync();
        (await lazyPages.WaitAsync()).EnsureSuccess();
        (await dump.WaitAsync()).EnsureSuccess();
        await scene.Program.VerifyAsync();
        await scene.Program.WaitUntilItLivesAsync();
        scene.Program.AssertRanOn();
        await AssertOnlyOnBAsync(scene);
    }

    private static async Task AssertOnlyOnBAsync(Scene scene)
    {
        if (scene.Program.Kind == Kind.Runc)
        {
            Container container = new(scene.Program.ContainerId, scene.Program.Bundle);
            Assert.Null(await container.StatusOnAsync(scene.Lab["a"]));
            Assert.Equal("running", await container.StatusOnAsync(scene.Lab["b"]));
            await container.RemoveFromAsync(scene.Lab["b"]);
        }
        else
        {
            Assert.NotEqual(0, (await scene.Lab["a"].TryAsync("kill", "-0", $"{scene.Program.Pid}")).ExitCode);
            Assert.Equal("bye", await scene.Program.CommandAsync("quit"));
        }

        await scene.Lab.AssertNothingLeftAsync();
    }
}
