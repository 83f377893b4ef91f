using PostCopy.Serve;

namespace PostCopy.Migrate;

/// <summary>Which pages the background push sends next.</summary>
public enum PrefetchPolicy
{
    /// <summary>From the lowest address up.</summary>
    Sequential,

    /// <summary>Around the latest faults, forward more than backward; then from the lowest address up.</summary>
    Neighbours,

    /// <summary>Nothing: only faults move pages. For research: the drain ends when the program has touched, or given up, all of its memory.</summary>
    None,
}

/// <summary>From the option to the policy.</summary>
internal static class PrefetchPolicies
{
    internal static IPrefetchPolicy Create(PrefetchPolicy policy) => policy switch
    {
        PrefetchPolicy.Sequential => new SequentialPolicy(),
        PrefetchPolicy.Neighbours => new NeighboursPolicy(),
        PrefetchPolicy.None => new NoPushPolicy(),
        _ => throw new ArgumentOutOfRangeException(nameof(policy), policy, null),
    };
}
