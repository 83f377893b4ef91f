using PostCopy.Userfault;

namespace PostCopy.Keeper;

/// <summary>The userfaultfds a keeper holds, and whether the address spaces behind them still are.</summary>
internal sealed class HeldMemory
{
    /// <summary>How often an orphaned keeper looks: there is no event for the end of an address space.</summary>
    internal const int LookEveryMs = 1000;

    private readonly List<Userfaultfd> _held = [];

    /// <summary>True when nothing else tells the keeper that it is not needed any more.</summary>
    internal bool IsWatched { get; set; }

    internal void Add(int descriptor) => _held.Add(new Userfaultfd(descriptor));

    internal bool IsAnyAlive() => _held.Exists(static uffd => uffd.IsAlive);
}
