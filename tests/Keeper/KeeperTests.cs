using System.Net.Sockets;
using PostCopy.Keeper;
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
}
