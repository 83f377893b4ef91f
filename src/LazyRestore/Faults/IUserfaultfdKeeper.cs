using PostCopy.Userfault;

namespace PostCopy.Faults;

/// <summary>Holds duplicates of all userfaultfds in another process, so that tasks wait instead of reading zeroes should this process die.</summary>
internal interface IUserfaultfdKeeper
{
    /// <summary>
    /// Called with every descriptor, forked children's too, before anything else is done with it. For a forked child that is on the fault thread
    /// and with the parent's installers stopped: be quick.
    /// </summary>
    void Keep(Userfaultfd uffd);
}
