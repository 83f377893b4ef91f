using PostCopy.Memory;

namespace PostCopy.Faults;

/// <summary>Asks the source for pages that a task is waiting for.</summary>
internal interface IPageRequester
{
    /// <summary>
    /// Asks for pages by their dump-time address. Called on the fault thread, so it must neither block nor throw; the answer comes through
    /// <see cref="LazyMemory.Install"/> or <see cref="LazyMemory.InstallZero"/> on another thread. It may wait for <see cref="Flush"/>.
    /// </summary>
    void Request(ImagePid pid, PageRange range);

    /// <summary>
    /// Nothing more is known to be missing at the moment: what was asked for goes out, together. Called as <see cref="Request"/> is. For whoever sends at
    /// once there is nothing to do.
    /// </summary>
    void Flush()
    {
    }
}
