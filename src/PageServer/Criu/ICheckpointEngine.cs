using PostCopy.Linux;

namespace PostCopy.Criu;

/// <summary>Who has CRIU dump something on the source: runc for its containers, CRIU itself for bare process trees.</summary>
internal interface ICheckpointEngine
{
    /// <summary>What is moved, in messages.</summary>
    string Subject { get; }

    /// <summary>Finds it. Throws <see cref="IOException"/> with the reason why it cannot be moved, as far as that is seen from outside.</summary>
    Task<CheckpointTarget> FindAsync(CancellationToken cancellation);

    /// <summary>The cgroup that CRIU freezes in order to stop the tasks; null when it stops them in another way, or nobody knows.</summary>
    FreezerCgroup? FrozenByCriu();

    /// <summary>
    /// The files among the images that the restore reads before it reads CRIU's, by name, as the dump is going to write them; null when that is not known
    /// before.
    /// </summary>
    IReadOnlyDictionary<string, byte[]>? EarlyImages();

    /// <summary>Starts the dump; CRIU's hook tells how far it is.</summary>
    ChildProcess Start(CriuSession criu);

    /// <summary>
    /// The cgroup that holds all of the tasks, which CRIU holds now, and nothing else: for the second freeze. Throws <see cref="IOException"/> when they
    /// cannot be held. May be called again for the same session.
    /// </summary>
    FreezerCgroup Gather(CriuSession criu, int rootPid, IReadOnlyList<int> tasks);

    /// <summary>
    /// The cgroup of our own that <see cref="Gather"/> has put the tasks into, whoever called it and whichever of them are dead; null when there is none, or when the
    /// others die with the first.
    /// </summary>
    FreezerCgroup? Gathered(CriuSession criu);

    /// <summary>The tasks run here again: undoes <see cref="Gather"/>.</summary>
    void Release(CriuSession criu);

    /// <summary>Removes what is left of tasks that are never to run here again, and kills those of them that live.</summary>
    Task RemoveAsync(CriuSession criu, CancellationToken cancellation);
}

/// <summary>What was found.</summary>
/// <param name="InitPid">The root task, as a pid of this host.</param>
/// <param name="Id">Its name for the destination.</param>
/// <param name="Bundle">A container's bundle directory; empty for a process tree.</param>
/// <param name="Pids">Of a tree without a pid namespace: every number that must be free on the destination.</param>
/// <param name="SystemdCgroup">systemd made a container's cgroup, and has to on the destination.</param>
internal sealed record CheckpointTarget(int InitPid, string Id, string Bundle, IReadOnlyList<int> Pids, bool SystemdCgroup = false);
