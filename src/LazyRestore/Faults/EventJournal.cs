using System.IO.MemoryMappedFiles;
using System.Runtime.InteropServices;
using Mono.Unix.Native;
using PostCopy.Memory;
using PostCopy.Userfault;

namespace PostCopy.Faults;

/// <summary>
/// What a dead agent's successor must know and cannot ask the kernel: which memory the tasks gave up, moved or shared with a child since the dump.
/// A file that is mapped by the process that reads the events; it needs no flush, because it must survive processes, not hosts.
/// </summary>
/// <remarks>
/// <para>
/// The kernel writes events straight into the journal: <see cref="Incoming"/> is where userfaultfd events are read to. A thread that is killed inside
/// read(2) is killed when the call is complete, so no event is ever taken from the kernel without being here. An event is first pending, then applied
/// to the ledger, then appended to the log; count of the log and place in the batch change in one store.
/// </para>
/// <code>
/// 0      magic        8 bytes
/// 8      progress     8 bytes: log entries &lt;&lt; 8 | events of the batch that are in the log
/// 16     space        4 bytes: whose events the batch has; 0 when none is pending
/// 20     full         4 bytes: 1 when the log had no room; from then on it proves nothing
/// 64     the batch    16 events of 32 bytes
/// 4096   the log      entries of 40 bytes: space, child or pid, event
/// </code>
/// </remarks>
internal sealed unsafe class EventJournal : IDisposable
{
    /// <summary>Events of one read.</summary>
    internal const int BatchEvents = 16;

    /// <summary>An entry's kind when an address space of a restored process was taken over.</summary>
    private const UffdEventKind Added = (UffdEventKind)1;

    /// <summary>An entry's kind when an address space is gone, and whoever holds its userfaultfd may let go.</summary>
    internal const UffdEventKind Gone = (UffdEventKind)2;

    private const ulong Magic = 0x31304C4E524A4350;
    private const int HeaderBytes = 4096;
    private const int BatchOffset = 64;

    /// <summary>64 MiB, of which only what is written takes memory. A mapping is registered once, and each entry takes some of it away.</summary>
    private const long FileBytes = 64L << 20;

    /// <summary>
    /// The file's blocks are taken by this much at a time, before they are written to: a write to a mapping for which the file system has no block left is
    /// a SIGBUS (mmap(2)).
    /// </summary>
    private const long ReserveBytes = 64 << 10;

    private static readonly long MaxEntries = (FileBytes - HeaderBytes) / sizeof(Entry);

    private readonly Lock _appending = new();
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private readonly byte* _base;
    private readonly FileStream _stream;
    private long _reserved;

    private EventJournal(FileStream file)
    {
        _stream = file;
        _file = MemoryMappedFile.CreateFromFile(file, null, FileBytes, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: false);
        _view = _file.CreateViewAccessor(0, FileBytes);
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _base);
    }

    /// <summary>Whether the log lacks entries for want of room.</summary>
    internal bool IsFull => Volatile.Read(ref *(int*)(_base + 20)) != 0;

    /// <summary>Where events are to be read to.</summary>
    internal Span<UffdEvent> Incoming => new(_base + BatchOffset, BatchEvents);

    private ref long Progress => ref *(long*)(_base + 8);

    private ref int Space => ref *(int*)(_base + 16);

    private Entry* Log => (Entry*)(_base + HeaderBytes);

    internal static EventJournal Create(string path)
    {
        FileStreamOptions options = new() { Mode = FileMode.CreateNew, Access = FileAccess.ReadWrite, UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite, BufferSize = 0 };
        EventJournal journal = new(new FileStream(path, options));
        if (!journal.TryReserve())
        {
            journal.Dispose();
            throw new IOException($"no space is left for {path}");
        }

        *(ulong*)journal._base = Magic;
        return journal;
    }

    /// <summary>Opens what another process wrote. Throws <see cref="InvalidDataException"/> when it is no journal.</summary>
    internal static EventJournal Open(string path)
    {
        FileStream file = new(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
        if (file.Length is var length && length != FileBytes)
        {
            file.Dispose();
            throw new InvalidDataException($"{path} has {length} bytes, a journal has {FileBytes}");
        }

        EventJournal journal = new(file);
        if (*(ulong*)journal._base == Magic && journal.Progress >> 8 is >= 0 and var count && count <= MaxEntries)
        {
            // What is written from here on is reserved first; what was written is there.
            journal._reserved = EndOf(count - 1);
            return journal;
        }

        journal.Dispose();
        throw new InvalidDataException($"{path} is no journal of events");
    }

    /// <summary>Before events of an address space are read.</summary>
    internal void BeginBatch(int space)
    {
        foreach (ref UffdEvent pending in Incoming)
        {
            pending.Kind = 0;
        }

        lock (_appending)
        {
            Volatile.Write(ref Progress, Progress & ~0xffL);
        }

        Volatile.Write(ref Space, space);
    }

    /// <summary>Event <paramref name="index"/> of the batch is in the ledger.</summary>
    internal void Applied(int index, int child)
    {
        UffdEvent message = Incoming[index];
        lock (_appending)
        {
            long count = Progress >> 8;
            if (message.Kind != UffdEventKind.PageFault)
            {
                count = Write(count, new Entry { Space = Space, Child = child, Event = message });
            }

            Volatile.Write(ref Progress, (count << 8) | (long)(index + 1));
        }
    }

    /// <summary>All events of the batch are in the ledger.</summary>
    internal void EndBatch() => Volatile.Write(ref Space, 0);

    /// <summary>The userfaultfd of a restored process was taken over.</summary>
    internal void AppendAdded(int space, ImagePid pid) => Append(new Entry { Space = space, Child = pid.Value, Event = new UffdEvent { Kind = Added } });

    /// <summary>An address space is gone. Of a forked child this may come before the fork itself.</summary>
    internal void AppendGone(int space) => Append(new Entry { Space = space, Event = new UffdEvent { Kind = Gone } });

    /// <summary>The numbers of all address spaces that the log names: those that were there, and those that are gone.</summary>
    internal (HashSet<int> Named, HashSet<int> Gone) AddressSpaces()
    {
        HashSet<int> named = [], gone = [];
        foreach ((int space, ImagePid? added, int child, UffdEvent message) in Entries())
        {
            if (message.Kind == Gone)
            {
                gone.Add(space);
            }
            else if (added is not null)
            {
                named.Add(space);
            }
            else if (message.Kind == UffdEventKind.Fork)
            {
                named.Add(child);
            }
        }

        return (named, gone);
    }

    /// <summary>
    /// How many forks' events were read and not dealt with: each child's userfaultfd may have died with the reader. For the keeper, which looks when the
    /// agent is dead.
    /// </summary>
    internal int PendingForks => Pending().Count(static pending => pending.Event.Kind == UffdEventKind.Fork);

    /// <summary>The log, oldest entry first: an address space that was added, with its process; or an event, <see cref="Gone"/> among them, with the child's number if it is a fork.</summary>
    internal IEnumerable<(int Space, ImagePid? Added, int Child, UffdEvent Event)> Entries()
    {
        long count = Progress >> 8;
        for (long i = 0; i < count; i++)
        {
            Entry entry = At(i);
            yield return entry.Event.Kind == Added ? (entry.Space, new ImagePid(entry.Child), 0, default) : (entry.Space, null, entry.Child, entry.Event);
        }
    }

    /// <summary>Events that were read from the kernel and are not in the log, with their places in the batch.</summary>
    internal List<(int Index, UffdEvent Event)> Pending()
    {
        List<(int, UffdEvent)> pending = [];
        for (int i = (int)(Progress & 0xff); Space != 0 && i < BatchEvents && Incoming[i].Kind != 0; i++)
        {
            pending.Add((i, Incoming[i]));
        }

        return pending;
    }

    /// <summary>Whose events are pending; 0 when none are.</summary>
    internal int PendingSpace => Space;

    /// <inheritdoc/>
    public void Dispose()
    {
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }

    private static long EndOf(long index) => HeaderBytes + ((index + 1) * sizeof(Entry));

    private bool TryReserve()
    {
        long bytes = Math.Min(ReserveBytes, FileBytes - _reserved);
        if (Syscall.posix_fallocate((int)_stream.SafeFileHandle.DangerousGetHandle(), _reserved, (ulong)bytes) != 0)
        {
            return false;
        }

        _reserved += bytes;
        return true;
    }

    private void Append(in Entry entry)
    {
        lock (_appending)
        {
            long count = Write(Progress >> 8, entry);
            Volatile.Write(ref Progress, (count << 8) | (Progress & 0xff));
        }
    }

    private Entry At(long index) => Log[index];

    private long Write(long count, in Entry entry)
    {
        if (count >= MaxEntries || (EndOf(count) > _reserved && !TryReserve()))
        {
            Volatile.Write(ref *(int*)(_base + 20), 1);
            return count;
        }

        Log[count] = entry;
        return count + 1;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Entry
    {
        internal int Space;
        internal int Child;
        internal UffdEvent Event;
    }
}
