using PostCopy.Linux;

namespace PostCopy.Check;

/// <summary>What the probes share.</summary>
internal sealed class HostProbeContext(HostCheckOptions options)
{
    private readonly string _searchPath = options.SearchPath ?? ChildPath.Value;

    public string StateDirectory => options.StateDirectory;

    public TimeSpan StepLimit => options.StepLimit;

    public Capabilities Capabilities { get; } = Capabilities.OfThisProcess();

    public string? Find(string program) => ChildPath.Find(program, _searchPath);

    /// <summary>Runs a program of this host to its end, with the PATH under check.</summary>
    public async Task<CapturedChild> RunAsync(
        string path, IReadOnlyList<string> arguments, CancellationToken cancellationToken, string? input = null)
    {
        using CancellationTokenSource limited = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limited.CancelAfter(StepLimit);
        try
        {
            return await CapturedChild.RunAsync(path, arguments, ChildPath.Environment(_searchPath), input, limited.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException($"{path} {string.Join(' ', arguments)} did not end within {StepLimit.TotalSeconds} s.");
        }
    }
}
