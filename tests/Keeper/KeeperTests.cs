using System.Net.Sockets;
using PostCopy.Faults;
using PostCopy.HandOff;
using PostCopy.Keeper;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Tests.Faults;
using PostCopy.Tests.TestBed;
using PostCopy.Userfault;

namespace PostCopy.Tests.Keeper;

/// <summary>A real <c>postcopy keeper</c>: whatever agents do, it holds what it was given.</summary>
public sealed class KeeperTests(FaultingProgram program) : IClassFixture<FaultingProgram>
{
    private const int Held = 3;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    /// <summary>With packets unread, the end of a connection is an error to its peer (ECONNRESET), not an end.</summary>
    [SkippableFact]
    public async Task It_outlives_agents_that_die_while_they_take_over()
    {
        Bed.RequirePostCopy();
        DirectoryInfo directory = Directory.CreateTempSubdirectory("postcopy-keeper-");
        using FaultingTask task = new(program, "random", pages: 16, owedEnd: 16);
        string socket = Path.Combine(directory.FullName, KeeperProtocol.SocketName);
        try
        {
            KeeperProcess first = new(Repository.PostCopy, directory.FullName);
            for (int id = 1; id <= Held; id++)
            {
                first.Keep(id, task.Uffd);
            }

            first.WatchAddressSpaces();
            await AwaitListeningAsync(directory.FullName);
            first.Dispose();

            for (int round = 0; round < 50; round++)
            {
                using Socket agent = new(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);
                agent.Connect(new UnixDomainSocketEndPoint(socket));
                byte[] packet = new byte[5];
                // The others are on their way, or there, and are not read.
                agent.Receive(packet);
            }

            (KeeperProcess keeper, Dictionary<int, Userfaultfd> held) = KeeperProcess.TakeOver(directory.FullName);
            Assert.Equal(Enumerable.Range(1, Held), held.Keys.Order());
            foreach (Userfaultfd one in held.Values)
            {
                one.Dispose();
            }

            await keeper.ReleaseAsync().WaitAsync(Limit);
            keeper.Dispose();
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    /// <summary>
    /// The agent dies between the kernel's word of a fork and its entry in the journal. Without the child's userfaultfd its memory would read as zeroes, so
    /// everything is frozen; with it nothing is missing, and nobody would thaw it again.
    /// </summary>
    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task It_freezes_for_a_child_that_it_lacks_and_for_no_other(bool hasChild)
    {
        Bed.RequirePostCopy();
        DirectoryInfo directory = Directory.CreateTempSubdirectory("postcopy-keeper-");
        using FaultingTask task = new(program, "random", pages: 16, owedEnd: 16);
        FreezerCgroup cgroup = FreezerCgroup.At(Directory.CreateDirectory(Path.Combine(FreezerCgroup.Root, $"postcopy-keeper-test-{Guid.NewGuid():N}")).FullName);
        ChildProcess container = ChildProcess.Start("/bin/sleep", ["1000"], newSession: true);
        try
        {
            await File.WriteAllTextAsync(Path.Combine(cgroup.Directory, "cgroup.procs"), $"{container.Pid}");
            using (EventJournal journal = EventJournal.Create(Path.Combine(directory.FullName, KeeperProtocol.JournalName)))
            {
                journal.AppendAdded(1, new ImagePid(1));
                journal.BeginBatch(1);
                journal.Incoming[0] = new UffdEvent { Kind = UffdEventKind.Fork, ForkedDescriptor = 99 };
            }

            KeeperProcess first = new(Repository.PostCopy, directory.FullName);
            first.Keep(1, task.Uffd);
            if (hasChild)
            {
                first.Keep(2, task.Uffd);
            }

            first.Watch(container.Pid);
            await AwaitListeningAsync(directory.FullName);
            first.Dispose();

            // It takes the next one when it has dealt with the end of this one.
            (KeeperProcess keeper, Dictionary<int, Userfaultfd> held) = KeeperProcess.TakeOver(directory.FullName);
            foreach (Userfaultfd one in held.Values)
            {
                one.Dispose();
            }

            if (hasChild)
            {
                Assert.False(cgroup.IsFrozen);
            }
            else
            {
                await Condition.WaitAsync(() => cgroup.IsFrozen, Limit, "the container to stand still");
            }

            await keeper.ReleaseAsync().WaitAsync(Limit);
            keeper.Dispose();
        }
        finally
        {
            cgroup.Thaw();
            container.Kill(Signal.SIGKILL);
            await container.WaitAsync(CancellationToken.None).WaitAsync(Limit);
            await Condition.WaitAsync(() => cgroup.Processes().Count == 0, Limit, "the cgroup to be empty");
            Directory.Delete(cgroup.Directory);
            directory.Delete(recursive: true);
        }
    }

    [SkippableFact]
    public async Task It_lets_go_of_an_address_space_that_is_gone()
    {
        Bed.RequirePostCopy();
        using FaultingTask task = new(program, "random", pages: 16, owedEnd: 16);
        await using Kept kept = await Kept.StartAsync(Repository.PostCopy, first =>
        {
            for (int id = 1; id <= Held; id++)
            {
                first.Keep(id, task.Uffd);
            }

            first.Drop(2);
            first.Drop(77);
            first.WatchAddressSpaces();
        });
        Assert.Equal([1, 3], kept.TakeOver());
    }

    /// <summary>A successor's agent is killed before it comes to naming the container's first process: what is given it belongs to tasks that run.</summary>
    [SkippableTheory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Without_the_first_process_it_holds_on_where_tasks_may_run_and_only_there(bool mayRun)
    {
        Bed.RequirePostCopy();
        using FaultingTask task = new(program, "random", pages: 16, owedEnd: 16);
        await using Kept kept = await Kept.StartAsync(Repository.PostCopy, first => first.Keep(1, task.Uffd), directory =>
        {
            if (mayRun)
            {
                File.CreateSymbolicLink(Path.Combine(directory, HandOffWords.DecisionName), HandOffWords.MayRun);
            }
        });
        if (mayRun)
        {
            Assert.Equal([1], kept.TakeOver());
            return;
        }

        await kept.ExpectEndAsync();
    }

    /// <summary>EISDIR stands for EPERM and EACCES, which .NET reports alike, and which nobody gives to root so easily.</summary>
    [SkippableFact]
    public async Task It_holds_on_when_it_is_not_allowed_to_freeze()
    {
        Bed.RequirePostCopy();
        using FaultingTask task = new(program, "random", pages: 16, owedEnd: 16);
        FreezerCgroup cgroup = FreezerCgroup.At(Directory.CreateDirectory(Path.Combine(FreezerCgroup.Root, $"postcopy-keeper-test-{Guid.NewGuid():N}")).FullName);
        ChildProcess container = ChildProcess.Start("/bin/sleep", ["1000"], newSession: true);
        try
        {
            await File.WriteAllTextAsync(Path.Combine(cgroup.Directory, "cgroup.procs"), $"{container.Pid}");
            await using Kept kept = await Kept.StartAsync(
                Repository.PostCopy,
                first =>
                {
                    first.Keep(1, task.Uffd);
                    first.Watch(container.Pid);
                },
                directory =>
                {
                    using EventJournal journal = EventJournal.Create(Path.Combine(directory, KeeperProtocol.JournalName));
                    journal.AppendAdded(1, new ImagePid(1));
                    journal.BeginBatch(1);
                    journal.Incoming[0] = new UffdEvent { Kind = UffdEventKind.Fork, ForkedDescriptor = 99 };
                    string file = Directory.CreateDirectory(Path.Combine(directory, "no-cgroup", "cgroup.freeze")).FullName;
                    File.WriteAllLines(Path.Combine(directory, "freezer"), [file, "1", "0"]);
                });
            Assert.Equal([1], kept.TakeOver());
        }
        finally
        {
            cgroup.Thaw();
            container.Kill(Signal.SIGKILL);
            await container.WaitAsync(CancellationToken.None).WaitAsync(Limit);
            await Condition.WaitAsync(() => cgroup.Processes().Count == 0, Limit, "the cgroup to be empty");
            Directory.Delete(cgroup.Directory);
        }
    }

    /// <summary>It has all that it could take, and what it could not is a reason to stand still once the agent is dead.</summary>
    [SkippableFact]
    public async Task It_holds_on_when_it_has_no_descriptor_left()
    {
        Bed.RequirePostCopy();
        const int most = 100;
        using FaultingTask task = new(program, "random", pages: 16, owedEnd: 16);
        FreezerCgroup cgroup = FreezerCgroup.At(Directory.CreateDirectory(Path.Combine(FreezerCgroup.Root, $"postcopy-keeper-test-{Guid.NewGuid():N}")).FullName);
        ChildProcess container = ChildProcess.Start("/bin/sleep", ["1000"], newSession: true);
        string limited = Path.Combine(Directory.CreateTempSubdirectory("postcopy-keeper-").FullName, "limited");
        await File.WriteAllTextAsync(limited, $"#!/bin/sh\nulimit -n {most}\nexec {Repository.PostCopy} \"$@\"\n");
        File.SetUnixFileMode(limited, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        try
        {
            await File.WriteAllTextAsync(Path.Combine(cgroup.Directory, "cgroup.procs"), $"{container.Pid}");
            await using Kept kept = await Kept.StartAsync(
                limited,
                first =>
                {
                    first.Watch(container.Pid);
                    for (int id = 1; id <= most + 10; id++)
                    {
                        first.Keep(id, task.Uffd);
                    }
                },
                directory =>
                {
                    using EventJournal journal = EventJournal.Create(Path.Combine(directory, KeeperProtocol.JournalName));
                    for (int id = 1; id <= most + 10; id++)
                    {
                        journal.AppendAdded(id, new ImagePid(id));
                    }
                });
            int[] held = kept.TakeOver();
            Assert.InRange(held.Length, 10, most);
            Assert.Equal(Enumerable.Range(1, held.Length), held);
            Assert.True(cgroup.IsFrozen, "tasks whose memory is not held run on");
        }
        finally
        {
            cgroup.Thaw();
            container.Kill(Signal.SIGKILL);
            await container.WaitAsync(CancellationToken.None).WaitAsync(Limit);
            await Condition.WaitAsync(() => cgroup.Processes().Count == 0, Limit, "the cgroup to be empty");
            Directory.Delete(cgroup.Directory);
            Directory.Delete(Path.GetDirectoryName(limited)!, recursive: true);
        }
    }

    /// <summary>The socket's file is there before anybody listens (unix(7): a state of 01 and the flag of a listener, 00010000).</summary>
    private static Task AwaitListeningAsync(string directory)
    {
        string socket = Path.Combine(directory, KeeperProtocol.SocketName);
        return Condition.WaitAsync(
            () => File.ReadLines("/proc/net/unix").Any(line => line.EndsWith(socket, StringComparison.Ordinal) && line.Contains(" 00010000 ", StringComparison.Ordinal)), Limit, "the keeper to listen");
    }

    /// <summary>A keeper whose agent has told it something and died.</summary>
    private sealed class Kept : IAsyncDisposable
    {
        private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("postcopy-keeper-");
        private KeeperProcess? _first;
        private KeeperProcess? _second;

        public static async Task<Kept> StartAsync(string program, Action<KeeperProcess> tell, Action<string>? prepare = null)
        {
            Kept kept = new();
            prepare?.Invoke(kept._directory.FullName);
            kept._first = new KeeperProcess(program, kept._directory.FullName);
            tell(kept._first);
            await AwaitListeningAsync(kept._directory.FullName);
            kept._first.Dispose();
            return kept;
        }

        /// <summary>As the next agent does. Returns the numbers of what it got.</summary>
        public int[] TakeOver()
        {
            (_second, Dictionary<int, Userfaultfd> held) = KeeperProcess.TakeOver(_directory.FullName);
            foreach (Userfaultfd one in held.Values)
            {
                one.Dispose();
            }

            return [.. held.Keys.Order()];
        }

        public Task ExpectEndAsync() => _first!.EndedAsync().WaitAsync(Limit);

        public async ValueTask DisposeAsync()
        {
            if (_second is not null)
            {
                await _second.ReleaseAsync().WaitAsync(Limit);
                _second.Dispose();
            }

            await _first!.EndedAsync().WaitAsync(Limit);
            _directory.Delete(recursive: true);
        }
    }
}
