using PostCopy.Linux;

namespace PostCopy.Check;

/// <summary>What the probes share.</summary>
internal sealed class HostProbeContext(HostCheckOptions options)
{
    /// <summary>Longest a helper program may take; all of them answer within a tenth of it.</summary>
    private static readonly TimeSpan ProgramTimeLimit = TimeSpan.FromSeconds(2);

    private readonly string _searchPath = options.SearchPath ?? ChildPath.Value;

    public string StateDirectory => options.StateDirectory;

    public Capabilities Capabilities { get; } = Capabilities.OfThisProcess();

    public string? Find(string program) => ChildPath.Find(program, _searchPath);

    /// <summary>Runs a program of this host to its end, with the PATH under check.</summary>
    public async Task<CapturedChild> RunAsync(
        string path, IReadOnlyList<string> arguments, CancellationToken cancellationToken, string? input = null)
    {
        using CancellationTokenSource limited = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limited.CancelAfter(ProgramTimeLimit);
        try
        {
            return await CapturedChild.RunAsync(path, arguments, ChildPath.Environment(_searchPath), input, limited.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException($"{path} {string.Join(' ', arguments)} did not end within {ProgramTimeLimit.TotalSeconds} s.");
        }
    }
}
