using PostCopy.Userfault;

namespace PostCopy.Faults;

/// <summary>Holds duplicates of all userfaultfds in another process, so that tasks wait instead of reading zeroes should this process die.</summary>
internal interface IUserfaultfdKeeper
{
    /// <summary>
    /// Called with every descriptor, forked children's too, before anything else is done with it; may be called twice for one. For a forked child that is
    /// on the fault thread and with the parent's installers stopped: be quick.
    /// </summary>
    /// <param name="id">A number by which a later process can ask for it: 1, 2, 3... in no particular order.</param>
    /// <param name="uffd">Stays the caller's.</param>
    void Keep(int id, Userfaultfd uffd);

    /// <summary>The address space with this number is gone: nothing needs its userfaultfd any more, and each one held keeps the remains of a dead process in memory.</summary>
    void Drop(int id);
}
