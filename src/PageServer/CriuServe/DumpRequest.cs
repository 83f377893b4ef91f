namespace PostCopy.CriuServe;

/// <summary>What to dump: a runc container or a tree of processes.</summary>
/// <param name="ContainerId">runc's id of the container; null for a tree.</param>
/// <param name="RootPid">The tree's first process (<c>criu dump -t</c>); 0 for a container.</param>
/// <param name="ExtraArguments">Further options, passed on as they are to <c>runc checkpoint</c> or <c>criu dump</c>.</param>
public sealed record DumpRequest(string? ContainerId, int RootPid, IReadOnlyList<string> ExtraArguments)
{
    /// <summary>runc's state directory (<c>runc --root</c>); null for runc's own default.</summary>
    public string? RuncRoot { get; init; }
}
