using PostCopy.Faults;

namespace PostCopy.LazyPages;

/// <summary>
/// Gets pages from where they are and installs them: first those that tasks wait for, then all. To be disposed of when nobody asks any more, and when nothing
/// can hold up whoever installs: after the <see cref="LazyMemory"/>.
/// </summary>
internal interface IPageFeeder : IPageRequester, IDisposable
{
    /// <summary>Completes only in failure: pages are owed that will not come.</summary>
    Task Failed { get; }

    /// <summary>Begins to answer faults. Throws <see cref="IOException"/> or a socket's exception when the pages cannot be reached.</summary>
    void Start(LazyMemory memory);

    /// <summary>CRIU has finished the restore: everything may come now.</summary>
    void RestoreFinished();

    /// <summary>Every page is in place or needless. Tells the server so, if there is one, and returns when it has heard.</summary>
    Task CompleteAsync();

    /// <summary>
    /// No page will come any more: a server is told by a reset, which none takes for success. What is asked for from here on is not answered. Waits for nobody,
    /// and does nothing after <see cref="CompleteAsync"/>.
    /// </summary>
    void Abort();
}
