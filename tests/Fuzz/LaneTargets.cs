using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.Buffers;
using PostCopy.Control;
using PostCopy.Faults;
using PostCopy.Memory;
using PostCopy.Restore;
using PostCopy.Serve;
using PostCopy.Tests.Serve;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Wire;
using PostCopy.Transport;
using PostCopy.Userfault;
using PostCopy.Wire;

namespace PostCopy.Tests.Fuzz;

/// <summary>Readers of connections, with the real loops around them.</summary>
internal static class LaneTargets
{
    private static readonly ImagePid Pid = new(7);
    private static readonly PageRange[] Owed = [new(0x10_0000, 20), new(0x80_0000, 3)];
    private static readonly PagePool Pool = new();
    private static readonly AgentToken Token = Tokens.One;
    private static readonly string Directory = System.IO.Directory.CreateTempSubdirectory("postcopy-fuzz-lanes-").FullName;

    public static IEnumerable<FuzzTarget> All =>
    [
        new("demand lane, at the source", [Samples.Request(1, 7, 0x10_0000, 20), [.. Samples.Request(1, 7, 0x80_0000, 1), .. Samples.Request(2, 7, 0x80_1000, 2), .. Samples.Frame(FrameKind.Goodbye)]], ServeDemand, typeof(ProtocolException)),
        new("push lane, at the source", [[.. Samples.Frame(FrameKind.Ack, 1), .. Samples.Frame(FrameKind.Goodbye)]], ReadAcknowledgements, typeof(ProtocolException)),
        new("push lane, at the destination", [[.. Samples.Pages(1, 7, 0x10_0000, true, true), .. Samples.Frame(FrameKind.PushDone, 1)], Samples.Pages(1, 7, 0x80_0000, true)], static bytes => ReceivePages(bytes, checksums: false), Expected),
        new("push lane with checksums", [Samples.Sealed(Samples.Pages(1, 7, 0x10_0000, true, true))], static bytes => ReceivePages(bytes, checksums: true), Expected),
        new("control lane", [[.. FuzzTargets.Messages.SelectMany(static message => message), .. Samples.Frame(FrameKind.Goodbye)], .. FuzzTargets.Messages.Select(static message => (byte[])[.. message, .. Samples.Frame(FrameKind.Goodbye)])], Converse, Expected),
        new("opening, at the destination", [Samples.Frame(FrameKind.Hello, 0, new LaneHello(1, LaneRole.Push, (uint)PageSize.Bytes, 1, SessionToken.Create(), new byte[16], new byte[32]).ToPayload())], AcceptLane, Expected),
        new("opening, at the source", [[.. FuzzTargets.Frames[0], .. Samples.Frame(FrameKind.HelloAck, 0, new byte[32])]], DialLane, Expected),
        new("lazy-pages.socket", [[0xfb, 0xff, 0xff, 0xff, 0x46, 0x54, 0x53, 0x52], [0x46, 0x54, 0x53, 0x52]], RestorePages, Expected),
    ];

    public static void CleanUp() => System.IO.Directory.Delete(Directory, recursive: true);

    private static Type[] Expected => [typeof(ProtocolException), typeof(InvalidDataException), typeof(ControlEndedException), typeof(SocketException), typeof(IOException), typeof(ArgumentException)];

    /// <summary>Whatever is asked for: what is answered is owed.</summary>
    private static void ServeDemand(byte[] bytes)
    {
        PageServerSession session = new(new InMemoryPages(), new PushPlan(new UnsentPages([new(Pid, Owed)]), new SequentialPolicy()));
        Pipe answers = new(new PipeOptions(pauseWriterThreshold: 0));
        Task serving = session.ServeDemandAsync(new Ends(PipeReader.Create(new ReadOnlySequence<byte>(bytes)), answers.Writer), CancellationToken.None);
        Assert.True(serving.IsCompleted);
        answers.Writer.Complete();
        if (answers.Reader.TryRead(out ReadResult read))
        {
            ReadOnlySequence<byte> buffer = read.Buffer;
            while (FrameReader.TryReadFrame(ref buffer, out _, out ReadOnlySequence<byte> payload))
            {
                PagesFrame.Parse(payload, out ImagePid pid, out PageRange range, out _, out _);
                Assert.Equal(Pid, pid);
                Assert.Contains(Owed, owed => range.Start >= owed.Start && range.Start + range.ByteCount <= owed.Start + owed.ByteCount);
            }

            Assert.Equal(0, buffer.Length);
        }

        serving.GetAwaiter().GetResult();
        RequireWhole(bytes);
    }

    private static void ReadAcknowledgements(byte[] bytes)
    {
        PageServerSession session = new(new InMemoryPages(), new PushPlan(new UnsentPages([new(Pid, Owed)]), new SequentialPolicy()));
        Pipe pushed = new(new PipeOptions(pauseWriterThreshold: 0));
        session.PushAsync(pushed.Writer, CancellationToken.None).GetAwaiter().GetResult();
        session.ReadAcknowledgementsAsync(PipeReader.Create(new ReadOnlySequence<byte>(bytes)), CancellationToken.None).GetAwaiter().GetResult();
        Assert.InRange(session.Acknowledged, 0UL, 10UL);
        RequireWhole(bytes);
    }

    private static void ReceivePages(byte[] bytes, bool checksums)
    {
        using Connection connection = new();
        // Nothing is owed any more: what installing does to memory is tests/Faults' to say.
        using LazyMemory memory = new([new(Pid, [])], new DemandLane(), new NoKeeper(), NullLogger.Instance);
        memory.RestoreFinished();
        connection.SendAndEnd(bytes);
        new PageReceiver(connection.Lane, memory, checksums).ReceivePush();
        RequireWhole(bytes);
    }

    private static void Converse(byte[] bytes)
    {
        using Connection connection = new();
        connection.SendAndEnd(bytes);
        using ControlChannel control = new(connection.Lane, "fuzz", TimeSpan.FromHours(1));
        try
        {
            while (true)
            {
                control.ReceiveAsync(CancellationToken.None).AsTask().GetAwaiter().GetResult();
            }
        }
        catch (ControlEndedException e) when (e.Message == "the peer closed the session")
        {
            // As it should.
        }
    }

    private static void AcceptLane(byte[] bytes)
    {
        using Connection connection = new();
        connection.SendAndEnd(bytes);
        try
        {
            LaneOpening.Accept(connection.Lane, Token);
            Assert.Fail("let in without the token");
        }
        catch (ProtocolException e) when (e.Code == WireErrorCode.Unauthorized)
        {
            // The one thing wrong with the corpus.
        }
    }

    private static void DialLane(byte[] bytes)
    {
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen(1);
        Task serving = Task.Run(() =>
        {
            using Socket socket = listener.Accept();
            socket.Send(bytes);
            socket.Shutdown(SocketShutdown.Send);
            byte[] sink = new byte[1024];
            try
            {
                while (socket.Receive(sink) > 0)
                {
                }
            }
            catch (SocketException)
            {
                // Closed with bytes of ours unread.
            }
        });
        try
        {
            LaneOpening.Dial([listener.LocalEndPoint!], LaneRole.Push, SessionToken.Create(), 1, Token, Pool).Dispose();
            Assert.Fail("it does not know the token");
        }
        catch (ProtocolException e) when (e.Code == WireErrorCode.Unauthorized)
        {
            // The one thing wrong with the corpus.
        }
        finally
        {
            serving.GetAwaiter().GetResult();
        }
    }

    private static void RestorePages(byte[] bytes)
    {
        using LazyPagesSocket socket = new(Directory);
        socket.Serve(static (_, uffd) => uffd.Dispose());
        string path = Path.Combine(Directory, "lazy-pages.socket");
        using (Socket criu = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            criu.Connect(new UnixDomainSocketEndPoint(path));
            try
            {
                criu.Send(bytes);
            }
            catch (SocketException)
            {
                // It has heard enough.
            }
        }

        try
        {
            socket.Finished.GetAwaiter().GetResult();
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>Where the end of the connection inside a frame is no error of its own.</summary>
    private static void RequireWhole(byte[] bytes)
    {
        ReadOnlySequence<byte> buffer = new(bytes);
        while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out _))
        {
            if (header.Kind == FrameKind.Goodbye)
            {
                return;
            }
        }

        if (buffer.Length > 0)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, "the rest is no whole frame");
        }
    }

    private sealed class Connection : IDisposable
    {
        private readonly Socket _theirs;

        public Connection()
        {
            (Socket ours, _theirs) = LanePair.Sockets();
            Lane = new SocketLane(ours, Pool);
        }

        public SocketLane Lane { get; }

        public void SendAndEnd(byte[] bytes)
        {
            _theirs.Send(bytes);
            _theirs.Shutdown(SocketShutdown.Send);
        }

        public void Dispose()
        {
            _theirs.Dispose();
            Lane.Dispose();
        }
    }

    private sealed record Ends(PipeReader Input, PipeWriter Output) : IDuplexPipe;

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
