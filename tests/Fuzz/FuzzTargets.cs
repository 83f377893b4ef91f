using System.Buffers;
using System.Text;
using Google.Protobuf;
using PostCopy.Certificates;
using PostCopy.Check;
using PostCopy.Control;
using PostCopy.Control.Messages;
using PostCopy.Tests.Testing;
using PostCopy.Tests.Wire;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Fuzz;

/// <summary>The readers that take bytes; those that need sockets and files around them are in LaneTargets and FileTargets.</summary>
internal static class FuzzTargets
{
    private static readonly FrameChecksum Checksum = new();

    public static readonly byte[][] Frames =
    [
        Samples.Frame(FrameKind.Welcome, 0, new Welcome(1, 1, new byte[16]).ToPayload()),
        Samples.Request(1, 1, 0x10_0000, 2),
        Samples.Pages(1, 7, 0x1000, true, true),
        Samples.Pages(2, 7, 0x4000, false, true, false),
        Samples.Error(WireErrorCode.Busy, "later"),
        Samples.Frame(FrameKind.Ack, 9),
        Samples.Frame(FrameKind.Heartbeat, 0, BitConverter.GetBytes(1L)),
    ];

    public static readonly byte[][] Messages =
    [
        Message(FrameKind.Prepare, new Prepare { ContainerId = "web", Bundle = "/bundles/web", CriuConfig = "tcp-close\n", Checksums = true }),
        Message(FrameKind.Prepared, new Prepared { Refusals = { "no", "never" } }),
        Message(FrameKind.ImageChunk, new ImageChunk { Name = "pages-1.img", Data = ByteString.CopyFrom(new byte[100]) }),
        Message(FrameKind.ImagesDone, new ImagesDone { Files = 3, Bytes = 1 << 20 }),
        Message(FrameKind.Built, new Built { BuiltUs = 17 }),
        Message(FrameKind.Decision, new PostCopy.Control.Messages.Decision { MayRun = true }),
        Message(FrameKind.Progress, new Progress { RemainingPages = 5, Faults = 6 }),
        Message(FrameKind.Drained, new Drained { FaultP99Us = 1.5 }),
        Message(FrameKind.NeverRan, new NeverRan { Errors = { "CRIU" } }),
        Message(FrameKind.Owed, new Owed { Pid = 7, Starts = { 0x1000 }, Pages = { 2 }, Last = true }),
        Message(FrameKind.MemoryLost, new MemoryLost { Reason = "it died" }),
        Message(FrameKind.Failed, new Failed { Error = "no" }),
        Message(FrameKind.Cancel, new Cancel { Reason = "no" }),
        Samples.Frame(FrameKind.Ask),
        Samples.Frame(FrameKind.Freezing),
        Samples.Frame(FrameKind.Heartbeat, 0, BitConverter.GetBytes(1L)),
    ];

    public static IReadOnlyList<FuzzTarget> All { get; } =
    [
        new("frames", [.. Frames, .. Messages], ReadFrames, typeof(ProtocolException)),
        new("frames with checksums", [Samples.Sealed(Frames[2]), Samples.Sealed(Frames[3])], ReadSealed, typeof(ProtocolException)),
        new("check report", [Encoding.UTF8.GetBytes(Report.ToJson())], static bytes => HostCheckReport.Parse(bytes), typeof(InvalidDataException)),
        new("endpoint", Texts("127.0.0.1:7077", "[fd00::1]:7077", "host.example:1", "unix:/run/x"), static bytes => AgentEndpoint.Parse(Text(bytes)), typeof(FormatException)),
        new("host name", Texts("a", "b.example", "host-1.example.org"), static bytes => HostName.Require(Text(bytes)), typeof(CertificateException)),
        .. FileTargets.All,
        .. LaneTargets.All,
        .. RecoveryTargets.All,
    ];

    public static byte[] Message(FrameKind kind, IMessage message) => Samples.Frame(kind, 0, message.ToByteArray());

    public static byte[][] Texts(params string[] texts) => [.. texts.Select(Encoding.UTF8.GetBytes)];

    public static string Text(byte[] bytes) => Encoding.UTF8.GetString(bytes);

    private static HostCheckReport Report =>
        new([new HostCheckItem("kernel", "uname", MigrationSides.Both, HostCheckResult.Ok, "6.18", null, null), new HostCheckItem("criu", "ran it", MigrationSides.Source, HostCheckResult.Missing, "none", "no", "get it")]);

    private static void ReadFrames(byte[] bytes)
    {
        ReadOnlySequence<byte> buffer = Segments.Cut(bytes, bytes.Length / 3, bytes.Length / 2);
        while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
        {
            switch (header.Kind)
            {
                case FrameKind.Welcome:
                    Welcome.Parse(payload.ToArray());
                    break;
                case FrameKind.Hello:
                    LaneHello.Parse(payload.ToArray());
                    break;
                case FrameKind.PageRequest:
                    PageRequest.Parse(payload);
                    break;
                case FrameKind.Pages:
                    PagesFrame.Parse(payload, out _, out _, out _, out _);
                    break;
                case FrameKind.Error:
                    Assert.DoesNotContain(FrameWriter.ParseError(payload).Message, char.IsControl);
                    break;
                case FrameKind.Heartbeat or FrameKind.Ack:
                    break;
                default:
                    ControlMessage.Parse(header.Kind, payload);
                    break;
            }
        }

        if (buffer.Length > 0)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, "the rest is no whole frame");
        }
    }

    private static void ReadSealed(byte[] bytes)
    {
        ReadOnlySequence<byte> buffer = Segments.Cut(bytes, bytes.Length / 2);
        while (FrameReader.TryReadFrame(ref buffer, out FrameHeader header, out ReadOnlySequence<byte> payload))
        {
            Checksum.Open(header, payload);
        }

        if (buffer.Length > 0)
        {
            throw new ProtocolException(WireErrorCode.ProtocolViolation, "the rest is no whole frame");
        }
    }
}
