using PostCopy.Linux;

namespace PostCopy.Check;

/// <summary>
/// A sleeping process to try things on: a session of its own, no terminal, nothing open but /dev/null, and the root as its directory, so
/// that CRIU finds nothing in it to care for. Disposing ends it.
/// </summary>
internal sealed class ThrowAwayProcess : IAsyncDisposable
{
    private const string Program = "sleep";

    // The upper bound of its life, should we be killed before we end it.
    internal const string LifetimeSeconds = "33";

    private readonly ChildProcess _child;

    private ThrowAwayProcess(ChildProcess child) => _child = child;

    public int Pid => _child.Pid;

    public static ThrowAwayProcess Start()
    {
        string path = ChildPath.Find(Program) ?? throw new FileNotFoundException($"No {Program} on PATH to try things on.");
        return new ThrowAwayProcess(ChildProcess.Start(path, [LifetimeSeconds], workingDirectory: "/", newSession: true));
    }

    /// <summary>Completes when it has ended, by whomever.</summary>
    public Task WaitAsync(CancellationToken cancellationToken) => _child.WaitAsync(cancellationToken);

    public async ValueTask DisposeAsync()
    {
        _child.Kill(Signal.SIGKILL);
        await _child.WaitAsync(CancellationToken.None).ConfigureAwait(false);
    }
}
