namespace PostCopy.Tests.DropIn;

/// <summary>A program that runs on host b, restored there by our daemon, and is owed its memory for a minute: the drain is not over before what is to happen in it.</summary>
internal sealed class SlowDrain : IAsyncDisposable
{
    private readonly Scene _scene;
    private readonly ReadyCommand _server;
    private readonly ReadyCommand _daemon;

    private SlowDrain(Scene scene, ReadyCommand server, ReadyCommand daemon) => (_scene, _server, _daemon) = (scene, server, daemon);

    /// <summary>A program whose memory takes that long to come to host b.</summary>
    internal static async Task<Scene> SetAsync(Kind kind)
    {
        Scene scene = await Scene.SetAsync(kind, mebibytes: 48);
        await scene.Lab["a"].LimitRateAsync(8);
        return scene;
    }

    internal static async Task<SlowDrain> BeginAsync(Kind kind, Player server)
    {
        Scene scene = await SetAsync(kind);
        ReadyCommand? dump = null, lazyPages = null;
        try
        {
            dump = await scene.DumpAsync(server);
            lazyPages = await scene.LazyPagesAsync(Player.PostCopy);
            (await scene.RestoreAsync()).EnsureSuccess();
            return new SlowDrain(scene, dump, lazyPages);
        }
        catch
        {
            await EndAsync(scene, dump, lazyPages);
            throw;
        }
    }

    internal void Deconstruct(out Scene scene, out ReadyCommand server, out ReadyCommand daemon) => (scene, server, daemon) = (_scene, _server, _daemon);

    public async ValueTask DisposeAsync() => await EndAsync(_scene, _server, _daemon);

    private static async Task EndAsync(Scene scene, ReadyCommand? server, ReadyCommand? daemon)
    {
        foreach (IAsyncDisposable? one in (IAsyncDisposable?[])[daemon, server, scene])
        {
            if (one is not null)
            {
                await one.DisposeAsync();
            }
        }
    }
}
