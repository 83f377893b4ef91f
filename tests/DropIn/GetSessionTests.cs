using System.Buffers.Binary;
using System.Net.Sockets;
using PostCopy.CriuWire;
using PostCopy.Memory;
using PostCopy.Tests.Faults;

namespace PostCopy.Tests.DropIn;

/// <summary>Our server against scripted clients, in both header sizes.</summary>
public sealed class GetSessionTests
{
    private const ulong Start = 0x7f00_0000_0000;
    private static readonly ImagePid Pid = new(42);
    private static readonly PageRange[] Owed = [new(Start, 2000), new(Start + PageSize.ToBytes(3000), 5)];
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData(24)]
    [InlineData(32)]
    public async Task Answers_come_in_order_and_are_cut_where_the_pages_end(int headerBytes)
    {
        using PatternServer server = new(Start, Pid, Owed);
        using CriuPageConnection client = server.Connect(headerBytes);
        PageRange[] asked = [new(Start + PageSize.ToBytes(7), 1), new(Start, 5000), new(Start + PageSize.ToBytes(3003), 100)];
        int[] answered = [1, 1024, 2];
        foreach (PageRange range in asked)
        {
            client.SendGet(Pid, range);
        }

        for (int i = 0; i < asked.Length; i++)
        {
            _ = client.ReceiveWord();
            Assert.Equal(answered[i], client.ReceiveAnswer(Pid, asked[i]));
            byte[] pages = new byte[answered[i] * PageSize.Bytes];
            client.ReceivePages(pages);
            byte[] expected = new byte[pages.Length];
            Pattern.Fill(Start, asked[i] with { PageCount = (ulong)answered[i] }, expected);
            Assert.Equal(expected, pages);
        }

        client.SendClose();
        Assert.Equal(0, client.ReceiveWord());
        SessionOutcome end = await server.Ended.WaitAsync(Patience);
        Assert.Equal(new SessionOutcome(Closed: true, SaysComplete: true, NeverSent: 2005 - 1024 - 2), end);
    }

    [Theory]
    [InlineData(24)]
    [InlineData(32)]
    public async Task A_stock_close_is_answered_and_says_nothing_of_success(int headerBytes)
    {
        using PatternServer server = new(Start, Pid, Owed);
        using TcpClient client = Connect(server);
        byte[] close = new byte[headerBytes];
        BinaryPrimitives.WriteUInt32LittleEndian(close, CriuFrameCommand.Close);
        client.GetStream().Write(close);
        byte[] status = new byte[4];
        client.GetStream().ReadExactly(status);
        Assert.Equal(new byte[4], status);
        client.Close();
        Assert.Equal(new SessionOutcome(Closed: true, SaysComplete: false, NeverSent: 2005), await server.Ended.WaitAsync(Patience));
    }

    [Fact]
    public async Task An_end_without_close_is_no_success()
    {
        using PatternServer server = new(Start, Pid, Owed);
        Connect(server).Close();
        Assert.False((await server.Ended.WaitAsync(Patience)).Closed);
    }

    // command, pages, page of the first range, pid
    public static TheoryData<uint, ulong, long, ulong> Nonsense { get; } = new()
    {
        { CriuFrameCommand.Get, 0, 0, 42 },
        { CriuFrameCommand.Get, 1, 2000, 42 },
        { CriuFrameCommand.Get, 1, -1, 42 },
        { CriuFrameCommand.Get, 1, 0, 43 },
        { CriuFrameCommand.Get, 1, 0, 42UL << 8 },
        { CriuFrameCommand.Get, 1, 0, ulong.MaxValue },
        { CriuFrameCommand.Get | 0x20000, 1, 0, 42 },
        { 1, 1, 0, 42 },
        { 0, 1, 0, 42 },
        { uint.MaxValue, ulong.MaxValue, -1, 42 },
    };

    [Theory]
    [MemberData(nameof(Nonsense))]
    public async Task What_is_not_listed_is_not_answered(uint command, ulong pages, long page, ulong id)
    {
        using PatternServer server = new(Start, Pid, Owed);
        using TcpClient client = Connect(server);
        byte[] frame = new byte[32];
        CriuFrameFormat.Since42.Write(frame, new CriuFrame(command, pages, unchecked(Start + (ulong)(page * PageSize.Bytes)), id));
        client.GetStream().Write(frame);
        await Assert.ThrowsAsync<CriuProtocolException>(() => server.Ended.WaitAsync(Patience));
        // Not an end of file, which some client could take for a good one.
        Assert.Throws<IOException>(() => client.GetStream().ReadByte());
        // What a request sets off, such as a freeze for good, this one did not.
        Assert.Equal(0, server.Requests);
    }

    [Fact]
    public async Task Half_a_frame_is_a_broken_promise()
    {
        using PatternServer server = new(Start, Pid, Owed);
        TcpClient client = Connect(server);
        client.GetStream().Write(new byte[10]);
        client.Close();
        await Assert.ThrowsAnyAsync<IOException>(() => server.Ended.WaitAsync(Patience));
    }

    [Fact]
    public async Task An_unaligned_address_is_no_page()
    {
        using PatternServer server = new(Start, Pid, Owed);
        using TcpClient client = Connect(server);
        byte[] frame = new byte[32];
        CriuFrameFormat.Since42.Write(frame, new CriuFrame(CriuFrameCommand.Get, 1, Start + 1, 42));
        client.GetStream().Write(frame);
        await Assert.ThrowsAsync<CriuProtocolException>(() => server.Ended.WaitAsync(Patience));
    }

    private static TcpClient Connect(PatternServer server)
    {
        TcpClient client = new();
        client.Connect(server.EndPoint);
        return client;
    }
}
