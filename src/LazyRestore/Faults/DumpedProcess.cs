using PostCopy.Memory;

namespace PostCopy.Faults;

/// <summary>
/// A process as the dump knew it, with every address space that descends from it: its own and those of children forked since. A page of the dump
/// goes into each of them that is still owed it.
/// </summary>
internal sealed class DumpedProcess
{
    private readonly Lock _lock = new();
    private volatile AddressSpace[] _members = [];
    private volatile bool _hasArrived;

    public DumpedProcess(ImagePid pid, int number, IReadOnlyList<PageRange> owed)
    {
        Pid = pid;
        Number = number;
        Layout = new DumpLayout(owed);
        Requested = new PageBitmap(Layout.PageCount);
    }

    public ImagePid Pid { get; }

    /// <summary>Its place among the processes of the restore.</summary>
    public int Number { get; }

    public DumpLayout Layout { get; }

    /// <summary>
    /// Pages that were asked for. Shared by all members: the answer goes to each of them, so none needs to ask again. Nothing is cleared when a page
    /// arrives, because then nobody owes it any more and nobody ever will.
    /// </summary>
    public PageBitmap Requested { get; }

    /// <summary>The living members; a new array for each change.</summary>
    public AddressSpace[] Members => _members;

    /// <summary>True once its own userfaultfd arrived, whether or not the task still lives.</summary>
    public bool HasArrived => _hasArrived;

    /// <summary>Its own userfaultfd has arrived, at a process that is dead now.</summary>
    public void Arrived() => _hasArrived = true;

    public void Add(AddressSpace member)
    {
        lock (_lock)
        {
            _members = [.. _members, member];
            _hasArrived = true;
        }
    }

    public void Remove(AddressSpace member)
    {
        lock (_lock)
        {
            _members = [.. _members.Where(other => other != member)];
        }
    }

    /// <summary>The pages that at least one member is owed.</summary>
    public PageBitmap StillOwed()
    {
        PageBitmap owed = new(Layout.PageCount);
        if (!HasArrived)
        {
            owed.SetRange(0, Layout.PageCount);
        }

        foreach (AddressSpace member in _members)
        {
            member.Owed.AddTo(owed);
        }

        return owed;
    }
}
