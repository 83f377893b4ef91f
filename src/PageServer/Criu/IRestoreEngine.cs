using PostCopy.Linux;

namespace PostCopy.Criu;

/// <summary>Who has CRIU restore something on the destination.</summary>
internal interface IRestoreEngine
{
    /// <summary>Adds the reasons why it cannot be restored here, as far as that is seen before it arrives.</summary>
    Task AddRefusalsAsync(ICollection<string> refusals, CancellationToken cancellation);

    /// <summary>Starts the restore, which expects the lazy-pages socket in the session's work directory.</summary>
    ChildProcess Start(CriuSession criu);

    /// <summary>Whether a restore whose end was not seen, by a process that is dead now, left a running copy.</summary>
    Task<bool> IsRunningAsync(CriuSession criu, CancellationToken cancellation);

    /// <summary>Holds a running copy that must not go on; whoever finds it so decides.</summary>
    /// <param name="criu">The restore's session.</param>
    /// <param name="initPid">The copy's first process; 0 when it is gone and others live on.</param>
    void Freeze(CriuSession criu, int initPid);

    /// <summary>Removes what is left of a copy that must not run. No error when nothing is.</summary>
    Task RemoveAsync(CriuSession criu, CancellationToken cancellation);

    /// <summary>The copy runs and needs nothing of the session any more.</summary>
    void Settle(CriuSession criu);
}
