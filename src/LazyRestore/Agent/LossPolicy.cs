namespace PostCopy.Agent;

/// <summary>What becomes of a container whose source stays away while pages are owed. None of them is silent, and none makes up bytes.</summary>
public enum LossPolicy
{
    /// <summary>Tasks that touch a missing page wait, for ever if need be.</summary>
    Stall,

    /// <summary>Tasks that touch a missing page get SIGBUS; those that do not run on.</summary>
    Poison,

    /// <summary>The container is killed.</summary>
    Kill,
}
