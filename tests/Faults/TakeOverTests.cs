using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.Faults;
using PostCopy.Memory;
using PostCopy.Userfault;

namespace PostCopy.Tests.Faults;

/// <summary>
/// One service of a task's memory ends in the middle, another goes on by the journal and the userfaultfds that a keeper held: every byte is right,
/// also of memory that was given up, moved or shared with a child before.
/// </summary>
public sealed partial class TakeOverTests(FaultingProgram program) : IClassFixture<FaultingProgram>
{
    private const ulong Pages = 2048;
    private static readonly ImagePid Pid = new(7);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    [SkippableTheory]
    [InlineData("random", 1)]
    [InlineData("release", 2)]
    [InlineData("forks", 3)]
    [InlineData("chaos", 11)]
    [InlineData("chaos", 12)]
    [InlineData("chaos", 13)]
    [InlineData("chaos", 14)]
    public void Every_byte_is_right_after_several_take_overs(string scenario, int seed)
    {
        using FaultingTask task = new(program, scenario, Pages, Pages, threads: 2, seed: (ulong)seed);
        using Keeper keeper = new();
        Random random = new(seed);
        string path = Path.Combine(Path.GetTempPath(), $"postcopy-journal-{Guid.NewGuid():N}");
        try
        {
            using (EventJournal journal = EventJournal.Create(path))
            {
                Serve(task, keeper, journal, memory =>
                {
                    memory.Add(Pid, task.Uffd);
                    memory.RestoreFinished();
                    task.Go();
                }, random.Next(40));
            }

            for (int round = 0; round < 3; round++)
            {
                using EventJournal journal = EventJournal.Open(path);
                Serve(task, keeper, journal, memory => Assert.Empty(memory.Recover(keeper.HandOver())), random.Next(40));
            }

            using EventJournal last = EventJournal.Open(path);
            Serve(task, keeper, last, memory => Assert.Empty(memory.Recover(keeper.HandOver())), forMs: null);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void What_is_no_journal_is_refused()
    {
        string path = Path.GetTempFileName();
        try
        {
            Assert.Throws<InvalidDataException>(() => EventJournal.Open(path));
            using (FileStream file = File.OpenWrite(path))
            {
                file.SetLength(64L << 20);
            }

            Assert.Throws<InvalidDataException>(() => EventJournal.Open(path));
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>
    /// The agent may die between the kernel's word of an event and the ledger: the event is in the batch and not in the log, and counts. A fork whose
    /// child's userfaultfd nobody holds is a child that is lost.
    /// </summary>
    [SkippableFact]
    public void Events_that_were_read_and_not_applied_are_not_forgotten()
    {
        using FaultingTask task = new(program, "random", Pages, Pages);
        using Keeper keeper = new();
        string path = Path.Combine(Path.GetTempPath(), $"postcopy-journal-{Guid.NewGuid():N}");
        try
        {
            List<PageRange> owed = Pattern.OwedRanges(task.Start, Pages);
            using (EventJournal journal = EventJournal.Create(path))
            {
                keeper.Keep(1, task.Uffd);
                journal.AppendAdded(1, Pid);
                journal.BeginBatch(1);
                journal.Incoming[0] = new UffdEvent { Kind = UffdEventKind.Remove, Start = task.Start, EndExclusive = task.Start + PageSize.ToBytes(8) };
                journal.Incoming[1] = new UffdEvent { Kind = UffdEventKind.Fork, ForkedDescriptor = 99 };
                Assert.Equal(1, journal.PendingForks);
            }

            for (int round = 0; round < 2; round++)
            {
                using EventJournal journal = EventJournal.Open(path);
                using Source source = new(task.Start);
                using LazyMemory memory = new([new(Pid, owed)], source, keeper, NullLogger.Instance, journal);
                IReadOnlyList<ImagePid> lost = memory.Recover(keeper.HandOver());
                Assert.Equal(round == 0 ? [Pid] : [], lost);
                Assert.Equal(owed.Sum(static range => (long)range.PageCount) - 8, memory.Counters.Remaining);
                Assert.Equal(new PageRange(task.Start + PageSize.ToBytes(8), 40), memory.StillOwed(Pid)[0]);
                Assert.Equal(0, journal.PendingForks);
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>Each userfaultfd that is held keeps a dead process's memory map, and each one that is remembered costs a successor a ledger.</summary>
    [SkippableFact]
    public void Children_that_have_ended_are_neither_held_nor_missed()
    {
        using FaultingTask task = new(program, "forkexit", Pages, Pages);
        using Keeper keeper = new();
        string path = Path.Combine(Path.GetTempPath(), $"postcopy-journal-{Guid.NewGuid():N}");
        List<PageRange> owed = Pattern.OwedRanges(task.Start, Pages);
        try
        {
            using (EventJournal journal = EventJournal.Create(path))
            using (Source source = new(task.Start))
            using (LazyMemory memory = new([new(Pid, owed)], source, keeper, NullLogger.Instance, journal))
            {
                source.AnswerRequests(memory);
                memory.Add(Pid, task.Uffd);
                memory.RestoreFinished();
                task.Go();
                task.Expect("done");
                memory.RetireExited();
                (HashSet<int> named, HashSet<int> gone) = journal.AddressSpaces();
                Assert.True(memory.Counters.Forks > 0 && named.Count == memory.Counters.Forks + 1, $"{memory.Counters.Forks} forks, {named.Count} address spaces");
                Assert.Equal([1], named.Except(gone));
                Assert.Equal([1], keeper.Numbers);
            }

            using EventJournal last = EventJournal.Open(path);
            using Source rest = new(task.Start);
            using LazyMemory successor = new([new(Pid, owed)], rest, keeper, NullLogger.Instance, last);
            rest.AnswerRequests(successor);
            Assert.Empty(successor.Recover(keeper.HandOver()));
            rest.Push(successor, Pid, owed, chunkPages: 64, TimeSpan.Zero).Join();
            Assert.True(successor.Drained.Wait(Patience), $"{successor.Counters.Remaining} pages are still owed");
            successor.Close();
            keeper.Dispose();
            task.Go();
            task.Expect("ok");
            task.ExpectExit();
            rest.AssertNoErrors();
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>
    /// The agent may die at any moment between its word that an address space is gone and the keeper's; and of a child that word may come before the fork's own.
    /// </summary>
    [SkippableTheory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public void A_child_that_is_gone_is_not_missed_whether_it_is_held_or_not(bool isHeld, bool isPending)
    {
        using FaultingTask task = new(program, "random", Pages, Pages);
        using Keeper keeper = new();
        string path = Path.Combine(Path.GetTempPath(), $"postcopy-journal-{Guid.NewGuid():N}");
        try
        {
            List<PageRange> owed = Pattern.OwedRanges(task.Start, Pages);
            using (EventJournal journal = EventJournal.Create(path))
            {
                keeper.Keep(1, task.Uffd);
                journal.AppendAdded(1, Pid);
                journal.BeginBatch(1);
                journal.Incoming[0] = new UffdEvent { Kind = UffdEventKind.Fork, ForkedDescriptor = 99 };
                if (isHeld)
                {
                    keeper.Keep(2, task.Uffd);
                }

                journal.AppendGone(2);
                if (!isPending)
                {
                    journal.Applied(0, 2);
                    journal.EndBatch();
                }
            }

            for (int round = 0; round < 2; round++)
            {
                using EventJournal journal = EventJournal.Open(path);
                using Source source = new(task.Start);
                using LazyMemory memory = new([new(Pid, owed)], source, keeper, NullLogger.Instance, journal);
                Assert.Empty(memory.Recover(keeper.HandOver()));
                Assert.Equal(owed.Sum(static range => (long)range.PageCount), memory.Counters.Remaining);
                Assert.Equal([1], keeper.Numbers);
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>Serves for some milliseconds, or to the end.</summary>
    private static void Serve(FaultingTask task, Keeper keeper, EventJournal journal, Action<LazyMemory> begin, int? forMs)
    {
        using Source source = new(task.Start);
        List<PageRange> owed = Pattern.OwedRanges(task.Start, Pages);
        using LazyMemory memory = new([new(Pid, owed)], source, keeper, NullLogger.Instance, journal);
        source.AnswerRequests(memory);
        begin(memory);
        Thread push = source.Push(memory, Pid, owed, chunkPages: 5, TimeSpan.FromMilliseconds(forMs is null ? 0 : 1));
        if (forMs is { } ms)
        {
            Thread.Sleep(ms);
            return;
        }

        task.Expect("done");
        push.Join();
        Assert.True(memory.Drained.Wait(Patience), $"{memory.Counters.Remaining} pages are still owed");
        memory.Close();
        keeper.Dispose();
        task.Go();
        task.Expect("ok");
        task.ExpectExit();
        source.AssertNoErrors();
    }

    /// <summary>Duplicates in this process, where nobody dies.</summary>
    private sealed partial class Keeper : IUserfaultfdKeeper, IDisposable
    {
        private readonly Dictionary<int, Userfaultfd> _held = [];

        public void Keep(int id, Userfaultfd uffd)
        {
            lock (_held)
            {
                _held[id] = Duplicate(uffd);
            }
        }

        public void Drop(int id)
        {
            lock (_held)
            {
                if (_held.Remove(id, out Userfaultfd? held))
                {
                    held.Dispose();
                }
            }
        }

        public int[] Numbers
        {
            get
            {
                lock (_held)
                {
                    return [.. _held.Keys.Order()];
                }
            }
        }

        public Dictionary<int, Userfaultfd> HandOver()
        {
            lock (_held)
            {
                return _held.ToDictionary(static one => one.Key, static one => Duplicate(one.Value));
            }
        }

        public void Dispose()
        {
            foreach (Userfaultfd held in _held.Values)
            {
                held.Dispose();
            }

            _held.Clear();
        }

        private static Userfaultfd Duplicate(Userfaultfd uffd) => new(dup(uffd.Descriptor));

        [LibraryImport("libc", SetLastError = true)]
        private static partial int dup(int descriptor);
    }
}
