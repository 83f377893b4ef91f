using PostCopy.Memory;
using PostCopy.Userfault;

namespace PostCopy.Faults;

/// <content>Goes on where a process that is dead now stood.</content>
internal sealed partial class LazyMemory
{
    /// <summary>
    /// Takes over from a dead process: replays its journal onto fresh ledgers and serves the userfaultfds that a keeper held. Pages that are in place
    /// already count as owed at first; the kernel says so (EEXIST) when they come again. Call once, before anything else; then <see cref="Drained"/>
    /// and all else work as if nothing had happened.
    /// </summary>
    /// <param name="held">The userfaultfds by the numbers of their address spaces; ownership passes here.</param>
    /// <returns>The processes of which a forked child's memory is lost: its userfaultfd died with the reader of the fork's event.</returns>
    /// <exception cref="InvalidDataException">The journal does not tell the whole story, or an address space of it that is not gone is not held.</exception>
    public IReadOnlyList<ImagePid> Recover(IReadOnlyDictionary<int, Userfaultfd> held)
    {
        EventJournal journal = _journal ?? throw new InvalidOperationException("there is no journal to recover from");
        if (journal.IsFull)
        {
            throw new InvalidDataException("the journal of events was full: what the tasks did to their memory since is not known");
        }

        Dictionary<int, (DumpedProcess Process, OwedPages Owed)> spaces = [];
        HashSet<int> restored = [], gone = [];
        foreach ((int space, ImagePid? added, int child, UffdEvent message) in journal.Entries())
        {
            if (added is { } pid)
            {
                DumpedProcess process = _processes.GetValueOrDefault(pid) ?? new DumpedProcess(pid, _processes.Count, owed: []);
                process.Arrived();
                spaces[space] = (process, new OwedPages(process.Layout));
                restored.Add(space);
            }
            else if (message.Kind == EventJournal.Gone)
            {
                gone.Add(space);
                Forget(spaces, space);
            }
            else
            {
                Replay(spaces, space, child, message);
                if (gone.Contains(child))
                {
                    // It was gone before its fork was in the log.
                    Forget(spaces, child);
                }
            }
        }

        List<ImagePid> lostChildren = FinishBatch(journal, spaces, gone, held);
        // Before the first one is served: a task that forks right then must not get a number that another one has, or had.
        (HashSet<int> named, _) = journal.AddressSpaces();
        _lastId = named.Concat(gone).Concat(held.Keys).Append(_lastId).Max();
        foreach (int id in gone.Where(held.ContainsKey))
        {
            held[id].Dispose();
            DropFromKeeper(id);
        }

        foreach ((int id, (DumpedProcess process, OwedPages owed)) in spaces)
        {
            Userfaultfd uffd = held.GetValueOrDefault(id) ?? throw new InvalidDataException($"the keeper does not hold the userfaultfd of address space {id} (process {process.Pid})");
            Serve(new AddressSpace(id, process, uffd, owed) { IsForked = !restored.Contains(id) });
        }

        _restoreFinished.Set();
        foreach (AddressSpace space in _spaces.Values)
        {
            // Whoever waited for the dead process faults again, and that is heard here.
            space.Uffd.WakeAll();
        }

        CompleteWhenDrained();
        return lostChildren;
    }

    /// <summary>What was read from the kernel and had not reached the log.</summary>
    private List<ImagePid> FinishBatch(
        EventJournal journal, Dictionary<int, (DumpedProcess Process, OwedPages Owed)> spaces, HashSet<int> gone, IReadOnlyDictionary<int, Userfaultfd> held)
    {
        HashSet<int> named = journal.AddressSpaces().Named;
        List<ImagePid> lostChildren = [];
        int parent = journal.PendingSpace;
        foreach ((int index, UffdEvent message) in journal.Pending())
        {
            int child = 0;
            if (message.Kind == UffdEventKind.Fork)
            {
                // Held, or gone already: its number is in the log by no other word.
                child = held.Keys.Concat(gone).Where(id => !spaces.ContainsKey(id) && !named.Contains(id)).DefaultIfEmpty().Min();
                if (child == 0)
                {
                    lostChildren.Add(spaces[parent].Process.Pid);
                    continue;
                }
            }

            if (message.Kind != UffdEventKind.PageFault)
            {
                Replay(spaces, parent, child, message);
            }

            if (gone.Contains(child))
            {
                named.Add(child);
                Forget(spaces, child);
            }

            journal.Applied(index, child);
        }

        journal.EndBatch();
        return lostChildren;
    }

    private void Forget(Dictionary<int, (DumpedProcess Process, OwedPages Owed)> spaces, int space)
    {
        if (spaces.Remove(space, out (DumpedProcess Process, OwedPages Owed) at))
        {
            Counters.AddDroppedByExit(at.Owed.DropAll());
        }
    }

    private void Replay(Dictionary<int, (DumpedProcess Process, OwedPages Owed)> spaces, int space, int child, in UffdEvent message)
    {
        if (!spaces.TryGetValue(space, out (DumpedProcess Process, OwedPages Owed) at))
        {
            throw new InvalidDataException($"the journal has an event of address space {space}, which nobody added");
        }

        switch (message.Kind)
        {
            case UffdEventKind.Remove:
                Counters.AddDropped(at.Owed.Remove(message.Start, message.EndExclusive));
                break;
            case UffdEventKind.Unmap:
                Counters.AddDropped(at.Owed.Unmap(message.Start, message.EndExclusive));
                break;
            case UffdEventKind.Remap:
                Counters.AddDropped(at.Owed.Move(message.RemapFrom, message.RemapTo, message.RemapBytes));
                break;
            case UffdEventKind.Fork:
                OwedPages owed = at.Owed.Clone();
                Counters.AddOwed(owed.Remaining);
                Counters.AddFork();
                spaces[child] = (at.Process, owed);
                break;
            default:
                throw new InvalidDataException($"the journal has an unknown event {(byte)message.Kind:x}");
        }
    }
}
