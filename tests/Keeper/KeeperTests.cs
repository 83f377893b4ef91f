using System.Net.Sockets;
using PostCopy.Faults;
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
            await Condition.WaitAsync(() => File.Exists(socket), Limit, "the keeper to listen");
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
            await Condition.WaitAsync(() => File.Exists(Path.Combine(directory.FullName, KeeperProtocol.SocketName)), Limit, "the keeper to listen");
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
}
