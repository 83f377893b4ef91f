using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>A container whose state runc keeps in another place than its default, and sessions that we keep in another place than ours.</summary>
public sealed class RuncRootTests
{
    private const string Elsewhere = "/run/runc-elsewhere";

    [SkippableFact]
    public async Task It_is_found_held_and_removed_where_it_is()
    {
        await using Scene scene = await Scene.SetAsync(Kind.Runc);
        LabHost a = scene.Lab["a"];
        await a.RunAsync("mv", "/run/runc", Elsewhere);
        CommandResult unknown = await a.TryAsync(Repository.PostCopy, "page-server", "--runc", scene.Program.ContainerId, "--port", "0", "-D", scene.Images);
        Assert.Equal(1, unknown.ExitCode);
        Assert.Contains("name it with --runc-root", unknown.Error, StringComparison.Ordinal);

        await using ReadyCommand dump = await scene.DumpAsync(Player.PostCopy, "--runc-root", Elsewhere, "--state-dir", "/run/dumps");
        Assert.Contains($"\"container\": \"{scene.Program.ContainerId}\"", await a.RunAsync(Repository.PostCopy, "status", "--json", "--state-dir", "/run/dumps"), StringComparison.Ordinal);
        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy, options: ["--state-dir", "/run/keepers"]);
        (await scene.RestoreAsync()).EnsureSuccess();
        (await lazyPages.WaitAsync()).EnsureSuccess();
        (await dump.WaitAsync()).EnsureSuccess();
        await scene.Program.VerifyAsync();
        scene.Program.AssertRanOn();
        Assert.Empty((await a.RunAsync("ls", Elsewhere)).Trim());
        Assert.True(Directory.Exists($"{scene.Lab["b"].Root}/run/keepers"), "the keeper had its files there");
        await new Container(scene.Program.ContainerId, scene.Program.Bundle).RemoveFromAsync(scene.Lab["b"]);
        await scene.Lab.AssertNothingLeftAsync();
    }
}
