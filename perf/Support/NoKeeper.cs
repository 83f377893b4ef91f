using PostCopy.Faults;
using PostCopy.Userfault;

namespace PostCopy.Perf.Support;

/// <summary>The memory program holds its own userfaultfd: nothing is lost should this process end.</summary>
internal sealed class NoKeeper : IUserfaultfdKeeper
{
    public void Keep(int id, Userfaultfd uffd)
    {
    }

    public void Drop(int id)
    {
    }
}
