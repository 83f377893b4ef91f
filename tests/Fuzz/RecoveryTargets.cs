using System.Net;
using System.Net.Sockets;
using Google.Protobuf;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.Agent;
using PostCopy.Buffers;
using PostCopy.Control.Messages;
using PostCopy.CriuServe;
using PostCopy.CriuWire;
using PostCopy.Faults;
using PostCopy.Keeper;
using PostCopy.Memory;
using PostCopy.Migrate;
using PostCopy.Restore;
using PostCopy.Serve;
using PostCopy.Sessions;
using PostCopy.Tests.Serve;
using PostCopy.Transport;
using PostCopy.Userfault;
using PostCopy.Wire;

namespace PostCopy.Tests.Fuzz;

/// <summary>What a dead process left for the one that follows, what a destination says it lacks, and CRIU's own wire at both ends.</summary>
internal static class RecoveryTargets
{
    private static readonly ImagePid Pid = new(7);
    private static readonly PageRange[] Owed = [new(0x10_0000, 20), new(0x80_0000, 3)];
    private static readonly KeyValuePair<ImagePid, IReadOnlyList<PageRange>>[] All7 = [new(Pid, Owed)];
    private static readonly PagePool Pool = new();
    private static readonly string Scratch = Directory.CreateTempSubdirectory("postcopy-fuzz-recovery-").FullName;
    private static int _count;

    public static IEnumerable<FuzzTarget> All =>
    [
        new("record of a source", [Written(new SourceRecord
        {
            Token = SessionToken.Create().ToHex(),
            Options = new MigrationOptions { ContainerId = "web", Destination = AgentEndpoint.Parse("b:7077") },
        }.Save, "source.json")], bytes => Reread(bytes, "source.json", static directory => _ = SourceRecord.TryLoad(directory)!.Session), typeof(IOException)),
        new("record of a destination", [Written(new DestinationRecord
        {
            Token = SessionToken.Create().ToHex(),
            Prepare = new Prepare { ContainerId = "web" }.ToByteArray(),
        }.Save, "destination.json")], bytes => Reread(bytes, "destination.json", static directory =>
        {
            DestinationRecord record = DestinationRecord.TryLoad(directory)!;
            _ = record.Session;
            Prepare.Parser.ParseFrom(record.Prepare);
        }), typeof(IOException), typeof(InvalidProtocolBufferException)),
        new("status", [Written(static directory => SessionList.Write(directory, new SessionStatus { Session = "s", Role = SessionRole.Source, Container = "web", State = SessionState.HandedOff }), "status.json")],
            bytes => Reread(bytes, "status.json", static directory =>
            {
                // What is damaged is listed as that.
                if (Assert.Single(SessionList.Read(Path.GetDirectoryName(directory)!)) is { State: SessionState.Damaged, WaitsFor: var reason })
                {
                    throw new IOException(reason);
                }
            }), typeof(IOException)),
        new("journal", [Journal()], Recover, typeof(InvalidDataException)),
        new("keeper", [[(byte)'e', 0, 0, 0, 0]], TakeOver, typeof(IOException), typeof(SocketException)),
        new("account of owed pages", [new Owed { Pid = 7, Starts = { 0x10_1000, 0x80_0000 }, Pages = { 3, 1 }, Last = true }.ToByteArray()], Restrict, typeof(ProtocolException), typeof(InvalidProtocolBufferException)),
        new("CRIU's wire, at the server", [.. Requests(CriuFrameFormat.UpTo41), .. Requests(CriuFrameFormat.Since42)], ServeCriu, typeof(IOException)),
        new("CRIU's wire, at the client", [[.. Frame(CriuFrameFormat.Since42, CriuFrame.PagesFollow(Pid, new PageRange(0x10_0000, 1))), .. new byte[PageSize.Bytes]]], AskCriu, typeof(IOException)),
    ];

    public static void CleanUp() => Directory.Delete(Scratch, recursive: true);

    private static string NewDirectory() => Directory.CreateDirectory(Path.Combine(Scratch, $"{Interlocked.Increment(ref _count)}-x")).FullName;

    private static byte[] Written(Action<string> save, string file)
    {
        string directory = NewDirectory();
        save(directory);
        byte[] bytes = File.ReadAllBytes(Path.Combine(directory, file));
        Directory.Delete(directory, recursive: true);
        return bytes;
    }

    private static void Reread(byte[] bytes, string file, Action<string> read)
    {
        string directory = NewDirectory();
        try
        {
            File.WriteAllBytes(Path.Combine(directory, file), bytes);
            read(directory);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    /// <summary>The beginning of one with an address space, changes of it, and events that had not reached the log.</summary>
    private static byte[] Journal()
    {
        string path = Path.Combine(NewDirectory(), "journal");
        using (EventJournal journal = EventJournal.Create(path))
        {
            journal.AppendAdded(1, Pid);
            journal.BeginBatch(1);
            journal.Incoming[0] = new UffdEvent { Kind = UffdEventKind.Remove, Start = 0x10_0000, EndExclusive = 0x10_2000 };
            journal.Incoming[1] = new UffdEvent { Kind = UffdEventKind.Unmap, Start = 0x80_0000, EndExclusive = 0x80_1000 };
            journal.Applied(0, 0);
        }

        using FileStream file = File.OpenRead(path);
        byte[] head = new byte[4096 + 256];
        file.ReadExactly(head);
        return head;
    }

    private static void Recover(byte[] bytes)
    {
        string path = Path.Combine(NewDirectory(), "journal");
        try
        {
            EventJournal.Create(path).Dispose();
            using (FileStream file = new(path, FileMode.Open, FileAccess.Write))
            {
                file.Write(bytes);
            }

            using EventJournal journal = EventJournal.Open(path);
            _ = journal.PendingForks;
            using LazyMemory memory = new(All7, new DemandLane(), new NoKeeper(), NullLogger.Instance, journal);
            memory.Recover(new Dictionary<int, Userfaultfd>());
        }
        catch (InvalidDataException e) when (e.Message.StartsWith("the keeper does not hold the userfaultfd of address space 1 ", StringComparison.Ordinal))
        {
            // The story was whole; here is no keeper.
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    private static void TakeOver(byte[] bytes)
    {
        string directory = NewDirectory();
        using Socket listener = new(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(Path.Combine(directory, KeeperProtocol.SocketName)));
        listener.Listen(1);
        Task keeper = Task.Run(() =>
        {
            using Socket agent = listener.Accept();
            foreach (byte[] packet in bytes.Chunk(5).Take(100))
            {
                agent.Send(packet);
            }
        });
        try
        {
            (KeeperProcess process, Dictionary<int, Userfaultfd> held) = KeeperProcess.TakeOver(directory);
            process.Dispose();
            Assert.Empty(held);
        }
        finally
        {
            try
            {
                keeper.GetAwaiter().GetResult();
            }
            catch (SocketException)
            {
                // It was left before it had said everything.
            }

            Directory.Delete(directory, recursive: true);
        }
    }

    /// <summary>Whatever is said to be owed: what is pushed then was owed at the freeze.</summary>
    private static void Restrict(byte[] bytes)
    {
        OwedAccount account = new(23);
        account.Add(PostCopy.Control.Messages.Owed.Parser.ParseFrom(bytes));
        UnsentPages unsent = new(All7);
        if (!unsent.TryRestrictTo(account.Ranges))
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, "never owed");
        }

        Assert.InRange(unsent.Remaining, 0UL, 23UL);
    }

    private static byte[] Frame(CriuFrameFormat format, CriuFrame frame)
    {
        byte[] bytes = new byte[format.Bytes];
        format.Write(bytes, frame);
        return bytes;
    }

    private static byte[][] Requests(CriuFrameFormat format) =>
        [[.. Frame(format, CriuFrame.GetPages(Pid, Owed[0])), .. Frame(format, CriuFrame.GetPages(Pid, new PageRange(0x80_1000, 9))), .. Frame(format, CriuFrame.CloseComplete)]];

    private static void ServeCriu(byte[] bytes)
    {
        using Wire wire = new(bytes);
        if (!new GetSession(wire, new InMemoryPages(), new ListedPages(All7)).Serve(Pool, static () => { }).Closed)
        {
            throw new IOException("it went away without a close");
        }

        Assert.True(wire.Sent <= bytes.Length / 24 * (32 + (20L << PageSize.Shift)));
    }

    private static void AskCriu(byte[] bytes)
    {
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        using CriuPageConnection client = CriuPageConnection.Connect([listener.LocalEndPoint!], CriuFrameFormat.Since42, secure: null);
        using Socket server = listener.Accept();
        server.Send(bytes);
        server.Shutdown(SocketShutdown.Send);
        PageRange asked = new(0x10_0000, 1);
        client.SendGet(Pid, asked);
        _ = client.ReceiveWord();
        client.ReceivePages(new byte[client.ReceiveAnswer(Pid, asked) * PageSize.Bytes]);
    }

    /// <summary>What a client sends; what it is sent is counted.</summary>
    private sealed class Wire(byte[] bytes) : MemoryStream(bytes, writable: false)
    {
        public long Sent { get; private set; }

        public override bool CanWrite => true;

        public override void Write(ReadOnlySpan<byte> buffer) => Sent += buffer.Length;

        public override void Write(byte[] buffer, int offset, int count) => Sent += count;
    }

    private sealed class NoKeeper : IUserfaultfdKeeper
    {
        public void Keep(int id, Userfaultfd uffd)
        {
        }

        public void Drop(int id)
        {
        }
    }
}
