using System.Buffers;
using System.Globalization;
using System.Reflection;
using System.Text.RegularExpressions;
using Google.Protobuf;
using PostCopy.Memory;
using PostCopy.Tests.TestBed;
using PostCopy.Transport;
using PostCopy.Wire;

namespace PostCopy.Tests.Wire;

/// <summary>PROTOCOL.md is what others write a peer from: its tables and hex dumps are what the code does.</summary>
public sealed partial class ProtocolDocumentTests : IDisposable
{
    private const string AcceptVariable = "POSTCOPY_ACCEPT_PROTOCOL";
    private static readonly string Document = Path.Combine(Repository.Root, "src", "PageServer", "Wire", "PROTOCOL.md");

    private readonly string _tokenFile = Path.GetTempFileName();

    [SkippableFact]
    public void The_hex_dumps_are_what_the_code_writes()
    {
        Skip.IfNot(PageSize.Bytes == 4096, "the examples are of 4096-byte pages");
        Dictionary<string, byte[]> actual = Examples();
        string text = File.ReadAllText(Document);
        if (Environment.GetEnvironmentVariable(AcceptVariable) == "1")
        {
            text = HexBlock().Replace(text, block => $"```hex {block.Groups["name"].Value}\n{Dump(actual[block.Groups["name"].Value])}```\n");
            File.WriteAllText(Document, text);
        }

        Dictionary<string, string> documented = HexBlock().Matches(text).ToDictionary(static block => block.Groups["name"].Value, static block => block.Groups["bytes"].Value);
        Assert.Equal(actual.Keys.Order(), documented.Keys.Order());
        Assert.All(actual, example => Assert.Equal(Dump(example.Value), documented[example.Key]));
    }

    [Fact]
    public void The_table_of_kinds_is_complete()
    {
        Dictionary<string, string[]> rows = Table("kind");
        Assert.Equal(Enum.GetNames<FrameKind>().Order(), rows.Keys.Order());
        foreach ((string name, string[] cells) in rows)
        {
            FrameKind kind = Enum.Parse<FrameKind>(name);
            Assert.Equal(((int)kind).ToString(CultureInfo.InvariantCulture), cells[1]);
            int limit = cells[4] == "56 + 256 pages" ? 56 + (256 * PageSize.Bytes) : int.Parse(cells[4], CultureInfo.InvariantCulture);
            Assert.Equal(limit, FrameHeader.Parse(Samples.Header((ushort)kind, (uint)limit)).PayloadBytes);
            Assert.Throws<ProtocolException>(() => FrameHeader.Parse(Samples.Header((ushort)kind, (uint)limit + 1)));
        }
    }

    [Fact]
    public void The_table_of_codes_is_complete() => Assert.Equal(
        Enum.GetValues<WireErrorCode>().Select(static code => $"{code} {(int)code}"),
        Table("code").Select(static row => $"{row.Key} {row.Value[1]}"));

    [Fact]
    public void The_table_of_limits_is_complete() => Assert.Equal(
        typeof(ProtocolLimits).GetFields(BindingFlags.Static | BindingFlags.NonPublic)
            .Where(static field => field.Name != nameof(ProtocolLimits.Version))
            .Select(static field => $"{field.Name} {field.GetRawConstantValue()}").Order(),
        Table("limit").Select(static row => $"{row.Key} {row.Value[1]}").Order());

    public void Dispose() => File.Delete(_tokenFile);

    private Dictionary<string, byte[]> Examples()
    {
        File.WriteAllText(_tokenFile, "0123456789abcdef\n");
        AgentToken token = AgentToken.Load(_tokenFile);
        byte[] nonceA = Count(0x00);
        byte[] welcome = new Welcome(1, 1, nonceA).ToPayload();
        LaneHello hello = new(1, LaneRole.Demand, 4096, 1, SessionToken.Parse(Count(0xa0)), Count(0x10), new byte[LaneHello.MacBytes]);
        byte[] signed = hello.ToPayload()[..LaneHello.SignedBytes];
        hello = hello with { Mac = token.Sign("postcopy dialler"u8.ToArray(), nonceA, signed) };
        return new Dictionary<string, byte[]>
        {
            ["welcome"] = Samples.Frame(FrameKind.Welcome, 0, welcome),
            ["hello"] = Samples.Frame(FrameKind.Hello, 0, hello.ToPayload()),
            ["hello-ack"] = Samples.Frame(FrameKind.HelloAck, 0, token.Sign("postcopy listener"u8.ToArray(), nonceA, signed)),
            ["decision"] = Samples.Frame(FrameKind.Decision, 0, new PostCopy.Control.Messages.Decision { MayRun = true }.ToByteArray()),
            ["heartbeat"] = Samples.Frame(FrameKind.Heartbeat, 0, BitConverter.GetBytes(1_700_000_000_000_000)),
            ["heartbeat-ack"] = Samples.Frame(
                FrameKind.HeartbeatAck, 0, [.. BitConverter.GetBytes(1_700_000_000_000_000), .. BitConverter.GetBytes(1_700_000_000_000_250)]),
            ["page-request"] = Samples.Request(1, 1, 0x7f00_0000_1000, 2),
            ["pages-zero"] = Samples.Pages(1, 1, 0x7f00_0000_1000, true, true),
            ["pages-prefix"] = Samples.Pages(17, 1, 0x7f00_0000_1000, false, true, false)[..PagesFrame.PrefixBytes],
            ["pages-checksum"] = Samples.Sealed(Samples.Pages(1, 1, 0x7f00_0000_1000, true, true)),
            ["valid"] = ValidExample(),
            ["push-done"] = Samples.Frame(FrameKind.PushDone, 17),
            ["ack"] = Samples.Frame(FrameKind.Ack, 17),
            ["error"] = Samples.Error(WireErrorCode.Session, "there is no such session here"),
        };
    }

    private static byte[] ValidExample()
    {
        ArrayBufferWriter<byte> output = new();
        ValidFrame.Write(output, new ImagePid(1), [new PageRange(0x7f00_0000_1000, 2)]);
        return output.WrittenSpan.ToArray();
    }

    private static byte[] Count(int from) => [.. Enumerable.Range(from, 16).Select(static i => (byte)i)];

    private static string Dump(byte[] bytes) =>
        string.Concat(bytes.Chunk(16).Select(static line => string.Join(' ', line.Select(static value => value.ToString("x2"))) + "\n"));

    /// <summary>The rows of the table whose first column is headed so, by their first cell.</summary>
    private static Dictionary<string, string[]> Table(string header)
    {
        IEnumerable<string> lines = File.ReadLines(Document).SkipWhile(line => !line.StartsWith($"| {header} |", StringComparison.Ordinal)).Skip(2);
        return lines.TakeWhile(static line => line.StartsWith('|'))
            .Select(static line => line.Split('|')[1..^1].Select(static cell => cell.Trim()).ToArray())
            .ToDictionary(static cells => cells[0]);
    }

    [GeneratedRegex(@"```hex (?<name>[a-z-]+)\n(?<bytes>[^`]*)```\n")]
    private static partial Regex HexBlock();
}
