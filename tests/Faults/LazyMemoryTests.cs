using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.Faults;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Userfault;

namespace PostCopy.Tests.Faults;

/// <summary>Against the kernel: a C program owns the memory, touches it in every way, and compares every byte with what the dump held.</summary>
public sealed class LazyMemoryTests(FaultingProgram program) : IClassFixture<FaultingProgram>
{
    private static readonly ImagePid Pid = new(7);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan Breath = TimeSpan.FromMilliseconds(1);

    [SkippableFact]
    public void Threads_read_everything_in_random_order_while_pages_are_pushed()
    {
        using Migration migration = new(program, "random", pages: 8192, owedEnd: 8000, threads: 3);
        Thread push = migration.PushAll(chunkPages: 16, Breath);
        migration.RunToTheEnd(push);
        FaultCounters counters = migration.Memory.Counters;
        Assert.Equal(migration.OwedCount, counters.InstalledByDemand + counters.InstalledByPush);
        Assert.Equal(0, counters.Dropped);
        Assert.InRange(counters.InstalledByDemand, 1, migration.OwedCount);
        // A push may bring the last page between the fault thread's note that it is asked for and the request itself.
        Assert.True(SpinWait.SpinUntil(() => migration.Source.RequestCount >= counters.InstalledByDemand, Patience));
        Assert.InRange(migration.Source.RequestCount, counters.InstalledByDemand, counters.InstalledByDemand + 100);
        Assert.InRange(migration.Memory.FaultLatency.Count, 1, migration.Source.RequestCount);
        Assert.InRange(migration.Memory.FaultLatency.PercentileMicroseconds(0.5), 1, 1_000_000);
    }

    [SkippableFact]
    public void Faults_alone_bring_every_page()
    {
        using Migration migration = new(program, "random", pages: 1024, owedEnd: 1024);
        migration.RunToTheEnd();
        Assert.Equal(migration.OwedCount, migration.Memory.Counters.InstalledByDemand);
        Assert.Equal(0, migration.Memory.Counters.InstalledByPush);
        Assert.Equal(migration.OwedCount, migration.Source.RequestCount);
    }

    [SkippableTheory]
    [InlineData("random", 1)]
    [InlineData("random", 3)]
    [InlineData("samepage", 8)]
    public void Staged_pages_come_with_those_behind_them_and_nobody_is_asked(string scenario, int threads)
    {
        using Migration migration = new(program, scenario, pages: 4096, owedEnd: 4096, threads);
        PatternStaged staged = new(migration.Task.Start, owedEnd: 4096);
        migration.Memory.UseStaged(staged);
        migration.RunToTheEnd();
        FaultCounters counters = migration.Memory.Counters;
        Assert.Equal((0, 0L, 0L), (migration.Source.RequestCount, counters.InstalledByDemand, counters.InstalledByPush));
        Assert.InRange(counters.LocalFaults, 1, counters.InstalledStaged * 3 / 4);
    }

    [SkippableTheory]
    [InlineData("release")]
    [InlineData("forks")]
    public void Staged_pages_come_by_faults_and_behind_them_whatever_the_task_does_meanwhile(string scenario)
    {
        using Migration migration = new(program, scenario, pages: 4096, owedEnd: 4096);
        PatternStaged staged = new(migration.Task.Start, owedEnd: 4096);
        migration.Memory.UseStaged(staged);
        migration.RunToTheEnd(migration.Source.InstallStaged(migration.Memory, Pid, staged, Breath));
        FaultCounters counters = migration.Memory.Counters;
        Assert.Equal((0, 0L, 0L), (migration.Source.RequestCount, counters.InstalledByDemand, counters.InstalledByPush));
    }

    [SkippableFact]
    public void Threads_that_fault_on_one_page_ask_for_it_once()
    {
        using Migration migration = new(program, "samepage", pages: 512, owedEnd: 512, threads: 8);
        migration.RunToTheEnd();
        Assert.Equal(migration.OwedCount, migration.Source.RequestCount);
    }

    [SkippableFact]
    public void Faults_are_served_before_the_restore_is_finished_and_drained_waits_for_it()
    {
        using Migration migration = new(program, "random", pages: 128, owedEnd: 128, restoreFinished: false);
        migration.Task.Go();
        migration.Task.Expect("done");
        // The task is woken before the page is counted.
        Assert.True(SpinWait.SpinUntil(() => migration.Memory.Counters.Remaining == 0, Patience));
        Assert.False(migration.Memory.Drained.IsCompleted);
        migration.Memory.RestoreFinished();
        migration.FinishAfterDone();
    }

    [SkippableTheory]
    [InlineData(1, 1, 24)]
    [InlineData(2, 1, 24)]
    [InlineData(3, 1, 24)]
    [InlineData(4, 1, 24)]
    [InlineData(5, 4, 4)]
    [InlineData(6, 4, 4)]
    [InlineData(7, 4, 4)]
    [InlineData(8, 4, 4)]
    public void Released_pages_stay_zero_while_their_bytes_arrive(ulong seed, int installers, ulong chunkPages)
    {
        using Migration migration = new(program, "release", pages: 16384, owedEnd: 16384, seed: seed);


        // Bytes come back when an installer is preempted between its look into the ledger and its ioctl: long slices, or more installers than CPUs.
        Thread[] pushes = [.. Enumerable.Range(0, installers).Select(_ => migration.PushJustBehindTheReleases(chunkPages))];
        migration.RunToTheEnd(pushes);
        // Enough of both for them to have met; how many it is depends on the machine.
        Assert.InRange(migration.Memory.Counters.Dropped, migration.OwedCount / 16, migration.OwedCount);
        Assert.InRange(migration.Memory.Counters.InstalledByPush, migration.OwedCount / 16, migration.OwedCount);
    }

    [SkippableFact]
    public void Children_forked_at_any_moment_are_owed_the_same_pages()
    {
        using Migration migration = new(program, "forks", pages: 4096, owedEnd: 4096);
        Thread push = migration.PushAll(chunkPages: 8, Breath);
        migration.RunToTheEnd(push);
        Assert.Equal(12, migration.Memory.Counters.Forks);
        Assert.Equal(13, migration.Kept.Count);
    }

    /// <summary>MADV_DONTFORK: the child is owed nothing there, and nobody fails for it, or waits for long.</summary>
    [SkippableFact]
    public void A_child_that_was_not_given_all_mappings_is_in_nobodys_way()
    {
        using Migration migration = new(program, "dontfork", pages: 4096, owedEnd: 4096);
        migration.Task.Go();
        Assert.True(SpinWait.SpinUntil(() => migration.Memory.Counters.Forks == 1, Patience));
        migration.Task.Expect("done");
        migration.FinishAfterDone(migration.PushAll(chunkPages: 8, TimeSpan.Zero));
        Assert.Equal(migration.OwedCount / 2, migration.Memory.Counters.Dropped);
    }

    [SkippableFact]
    public void Children_and_parent_are_served_by_faults_alone()
    {
        using Migration migration = new(program, "forks", pages: 512, owedEnd: 512);
        migration.RunToTheEnd();
        Assert.Equal(12, migration.Memory.Counters.Forks);
    }

    [SkippableFact]
    public void A_forked_child_that_exits_is_forgotten()
    {
        using Migration migration = new(program, "forkexit", pages: 256, owedEnd: 256);
        migration.Task.Go();
        migration.Task.Expect("done");
        Assert.Equal(2 * migration.OwedCount, migration.Memory.Counters.Remaining);
        migration.FinishAfterDone(migration.PushAll(chunkPages: 16));
        Assert.Equal(migration.OwedCount, migration.Memory.Counters.Dropped);
    }

    [SkippableFact]
    public void A_task_that_exits_drains()
    {
        using Migration migration = new(program, "exit", pages: 256, owedEnd: 256);
        migration.Task.Go();
        migration.Task.ExpectExit();
        migration.PushAll(chunkPages: 16).Join();
        migration.AwaitDrained();
        Assert.Equal(migration.OwedCount, migration.Memory.Counters.Dropped);
        migration.Memory.Close();
    }

    [SkippableFact]
    public void A_task_that_exits_drains_although_nothing_arrives()
    {
        using Migration migration = new(program, "exit", pages: 256, owedEnd: 256);
        migration.Memory.RetireExited();
        Assert.Equal(migration.OwedCount, migration.Memory.Counters.Remaining);
        migration.Task.Go();
        migration.Task.ExpectExit();
        migration.Memory.RetireExited();
        migration.AwaitDrained();
        Assert.Equal(migration.OwedCount, migration.Memory.Counters.Dropped);
        migration.Memory.Close();
    }

    [SkippableFact]
    public void First_touch_of_memory_never_owed_costs_few_faults()
    {
        using Migration migration = new(program, "fresh", pages: 4096, owedEnd: 0);
        migration.RunToTheEnd();
        Assert.InRange(migration.Memory.Counters.Faults, 4096 / FirstTouchWindow.MaxPages, 100);
        Assert.Equal(4096, migration.Memory.Counters.ZeroFilled);
        Assert.Equal(0, migration.Source.RequestCount);
    }

    [SkippableFact]
    public void Mappings_that_were_split_are_filled_piece_by_piece()
    {
        using Migration migration = new(program, "protect", pages: 512, owedEnd: 512);
        migration.Task.Go();
        migration.Task.Expect("done");
        migration.FinishAfterDone(migration.PushAll(chunkPages: 48));
        Assert.Equal(migration.OwedCount, migration.Memory.Counters.InstalledByPush);
    }

    [SkippableTheory]
    [InlineData(11)]
    [InlineData(12)]
    [InlineData(13)]
    [InlineData(14)]
    [InlineData(15)]
    [InlineData(16)]
    public void A_task_that_does_everything_at_once_finds_every_byte(ulong seed)
    {
        using Migration migration = new(program, "chaos", pages: 2048, owedEnd: 1900, seed: seed);
        Random random = new((int)seed);
        List<PageRange> ranges = Pattern.OwedRanges(migration.Task.Start, 1900);
        random.Shuffle(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(ranges));
        Thread push = migration.Source.Push(migration.Memory, Pid, ranges, chunkPages: 5, Breath);
        migration.RunToTheEnd(push);
    }

    [SkippableFact]
    public void A_page_that_is_owed_but_cannot_be_installed_is_reported_and_stays_owed()
    {
        using Migration migration = new(program, "unregister", pages: 128, owedEnd: 128);
        migration.Task.Go();
        migration.Task.Expect("done");
        migration.PushAll(chunkPages: 48).Join();
        LinuxException failure = Assert.IsType<LinuxException>(Assert.Single(migration.Failures));
        Assert.Equal(Errno.ENOENT, failure.Errno);
        Assert.Equal(8, migration.Memory.Counters.Remaining);
        Assert.False(migration.Memory.Drained.IsCompleted);
        Assert.Equal([new PageRange(migration.Task.Start, 8)], migration.Memory.StillOwed(Pid));
        Assert.Throws<InvalidOperationException>(migration.Memory.Close);
        migration.Failures.Clear();
    }

    [SkippableFact]
    public void A_full_memory_cgroup_stalls_the_installer_and_loses_nothing()
    {
        // Version 1 with the OOM killer off: the kernel answers ENOMEM. Version 2 would kill the task instead.
        string cgroup = $"/sys/fs/cgroup/memory/postcopy-faults-{Environment.ProcessId}";
        Skip.IfNot(File.Exists("/sys/fs/cgroup/memory/memory.limit_in_bytes"), "no memory cgroup of version 1");
        Directory.CreateDirectory(cgroup);
        try
        {
            using Migration migration = new(program, "protect", pages: 4096, owedEnd: 4096);
            File.WriteAllText($"{cgroup}/memory.oom_control", "1");
            File.WriteAllText($"{cgroup}/memory.limit_in_bytes", "4194304");
            File.WriteAllText($"{cgroup}/cgroup.procs", $"{migration.Task.Pid}");
            Thread push = migration.PushAll(chunkPages: 48);
            Assert.True(migration.Logger.NoMemorySaid.Wait(Patience));
            Assert.InRange(migration.Memory.Counters.Remaining, 1, migration.OwedCount - 1);
            Assert.True(push.IsAlive);
            File.WriteAllText($"{cgroup}/memory.limit_in_bytes", "-1");
            migration.RunToTheEnd(push);
        }
        finally
        {
            Directory.Delete(cgroup);
        }
    }

    [SkippableFact]
    public void Requests_whose_answers_were_lost_are_made_again()
    {
        using Migration migration = new(program, "random", pages: 64, owedEnd: 64, threads: 4);
        migration.Source.Lose = true;
        migration.Task.Go();
        Assert.True(SpinWait.SpinUntil(() => migration.Source.RequestCount == 4, Patience));
        migration.Source.Lose = false;
        migration.Memory.RepeatRequests();
        migration.Task.Expect("done");
        migration.FinishAfterDone();
    }

    [SkippableFact]
    public void What_is_still_owed_is_told_in_dump_time_ranges()
    {
        using Migration migration = new(program, "protect", pages: 256, owedEnd: 256);
        Assert.Equal(Pattern.OwedRanges(migration.Task.Start, 256), migration.Memory.StillOwed(Pid));
        migration.Memory.InstallZero(Pid, new PageRange(migration.Task.Start + PageSize.ToBytes(3), 1));
        Assert.Equal([new PageRange(migration.Task.Start, 3), new PageRange(migration.Task.Start + PageSize.ToBytes(4), 44)], migration.Memory.StillOwed(Pid).Take(2));
    }

    [SkippableFact]
    public void A_restore_without_the_userfaultfd_of_an_owed_process_is_refused()
    {
        using LazyMemory memory = new(
            [new(Pid, [new PageRange(0x1000_0000, 1)])], new Source(0), new Keeper(), NullLogger.Instance);
        Assert.Throws<InvalidDataException>(memory.RestoreFinished);
    }

    [SkippableFact]
    public void Installers_that_wait_are_let_go_when_the_service_ends()
    {
        using Migration migration = new(program, "random", pages: 64, owedEnd: 64, restoreFinished: false, add: false);
        Task install = Task.Factory.StartNew(
            () => migration.Memory.InstallZero(Pid, new PageRange(migration.Task.Start, 1)), TaskCreationOptions.LongRunning);
        migration.Memory.Dispose();
        Assert.Throws<OperationCanceledException>(() => migration.Memory.InstallZero(Pid, new PageRange(migration.Task.Start, 1)));
        Assert.IsAssignableFrom<OperationCanceledException>(Assert.Throws<AggregateException>(() => install.Wait(Patience)).InnerException);
    }

    private sealed class Keeper : IUserfaultfdKeeper
    {
        public ConcurrentBag<int> Descriptors { get; } = [];

        public void Keep(int id, Userfaultfd uffd) => Descriptors.Add(uffd.Descriptor);

        public void Drop(int id)
        {
        }
    }

    private sealed class NoMemoryListener : ILogger
    {
        public ManualResetEventSlim NoMemorySaid { get; } = new();

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (eventId.Id == 2101)
            {
                NoMemorySaid.Set();
            }
        }
    }

    /// <summary>A task, the memory that serves it, and a source that answers.</summary>
    private sealed class Migration : IDisposable
    {
        private readonly Keeper _keeper = new();
        private readonly ulong _owedEnd;
        private volatile bool _disposed;

        public Migration(
            FaultingProgram program, string scenario, ulong pages, ulong owedEnd, int threads = 1, ulong seed = 1, bool restoreFinished = true, bool add = true)
        {
            _owedEnd = owedEnd;
            Task = new FaultingTask(program, scenario, pages, owedEnd, threads, seed);
            Source = new Source(Task.Start);
            List<PageRange> owed = Pattern.OwedRanges(Task.Start, owedEnd);
            OwedCount = owed.Sum(range => (long)range.PageCount);
            Memory = new LazyMemory([new(Pid, owed)], Source, _keeper, Logger);
            Memory.Failed += Failures.Enqueue;
            if (add)
            {
                Memory.Add(Pid, Task.Uffd);
            }

            Source.AnswerRequests(Memory);
            if (restoreFinished)
            {
                Memory.RestoreFinished();
            }
        }

        public NoMemoryListener Logger { get; } = new();

        public FaultingTask Task { get; }

        public Source Source { get; }

        public LazyMemory Memory { get; }

        public long OwedCount { get; }

        public ConcurrentQueue<Exception> Failures { get; } = [];

        public ConcurrentBag<int> Kept => _keeper.Descriptors;

        public Thread PushAll(ulong chunkPages, TimeSpan rest = default) =>
            Source.Push(Memory, Pid, Pattern.OwedRanges(Task.Start, _owedEnd), chunkPages, rest);

        /// <summary>Sends each chunk as soon as the task, which walks upwards, has given up something in it: both are at the same pages all the time.</summary>
        public Thread PushJustBehindTheReleases(ulong chunkPages) =>
            Source.Push(Memory, Pid, Pattern.OwedRanges(Task.Start, _owedEnd).Where(range => WaitForReleaseIn(range)), chunkPages);

        public void AwaitDrained() => Assert.True(Memory.Drained.Wait(Patience), $"{Memory.Counters.Remaining} pages are still owed");

        public void RunToTheEnd(params Thread[] pushes)
        {
            Task.Go();
            Task.Expect("done");
            FinishAfterDone(pushes);
        }

        public void FinishAfterDone(params Thread[] pushes)
        {
            Array.ForEach(pushes, push => push.Join());
            AwaitDrained();
            Memory.Close();
            Task.Go();
            Task.Expect("ok");
            Task.ExpectExit();
        }

        private bool WaitForReleaseIn(PageRange range)
        {
            long before = Pattern.OwedRanges(Task.Start, (range.Start - Task.Start) >> PageSize.Shift).Sum(earlier => (long)earlier.PageCount);
            return SpinWait.SpinUntil(() => Memory.Counters.Remaining < OwedCount - before || _disposed, Patience) && !_disposed;
        }

        public void Dispose()
        {
            _disposed = true;
            Memory.Dispose();
            Source.Dispose();
            Task.Dispose();
            Source.AssertNoErrors();
            Assert.Empty(Failures);
        }
    }
}
