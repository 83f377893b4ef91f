using System.Buffers.Binary;
using Microsoft.Extensions.Logging.Abstractions;
using PostCopy.CriuWire;
using PostCopy.Faults;
using PostCopy.LazyPages;
using PostCopy.Memory;
using PostCopy.Tests.Faults;
using PostCopy.Userfault;

namespace PostCopy.Tests.DropIn;

/// <summary>
/// Against the kernel and a socket: a C program does everything to its memory that a task can do, while its pages come over CRIU's wire in either
/// header size; and servers that misbehave.
/// </summary>
public sealed class FeederTests(FaultingProgram program) : IClassFixture<FaultingProgram>
{
    private static readonly ImagePid Pid = new(7);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    [SkippableTheory]
    [InlineData(24, "random", 3)]
    [InlineData(32, "random", 3)]
    [InlineData(24, "chaos", 1)]
    [InlineData(32, "chaos", 1)]
    [InlineData(32, "forks", 1)]
    [InlineData(32, "release", 2)]
    [InlineData(32, "protect", 1)]
    public async Task Every_byte_is_right_whatever_the_task_does(int headerBytes, string scenario, int threads)
    {
        using FaultingTask task = new(program, scenario, pages: 4096, owedEnd: 4000, threads);
        List<PageRange> owed = Pattern.OwedRanges(task.Start, 4000);
        using PatternServer server = new(task.Start, Pid, owed);
        using RemoteFeeder feeder = new(() => server.Connect(headerBytes), new FetchPlan([new(Pid, owed)]));
        using LazyMemory memory = new([new(Pid, owed)], feeder, new NoKeeper(), NullLogger.Instance);
        feeder.Start(memory);
        memory.Add(Pid, task.Uffd);
        memory.RestoreFinished();
        feeder.RestoreFinished();

        task.Go();
        task.Expect("done");
        await Task.WhenAny(memory.Drained, feeder.Failed).Unwrap().WaitAsync(Patience);
        await feeder.CompleteAsync().WaitAsync(Patience);
        memory.Close();
        task.Go();
        task.Expect("ok");
        task.ExpectExit();
        SessionOutcome end = await server.Ended.WaitAsync(Patience);
        Assert.True(end.Closed && end.SaysComplete, $"{end}");
    }

    [SkippableFact]
    public async Task A_task_that_exits_is_owed_nothing_more()
    {
        using FaultingTask task = new(program, "exit", pages: 4096, owedEnd: 4096);
        List<PageRange> owed = Pattern.OwedRanges(task.Start, 4096);
        using PatternServer server = new(task.Start, Pid, owed);
        using RemoteFeeder feeder = new(() => server.Connect(32), new FetchPlan([new(Pid, owed)]));
        using LazyMemory memory = new([new(Pid, owed)], feeder, new NoKeeper(), NullLogger.Instance);
        feeder.Start(memory);
        memory.Add(Pid, task.Uffd);
        task.Go();
        task.ExpectExit();
        memory.RestoreFinished();
        feeder.RestoreFinished();
        await memory.Drained.WaitAsync(Patience);
        await feeder.CompleteAsync().WaitAsync(Patience);
        SessionOutcome end = await server.Ended.WaitAsync(Patience);
        Assert.True(end.SaysComplete && end.NeverSent > 0, $"{end}");
    }

    public static TheoryData<string> Misbehaviour { get; } = ["empty", "more", "elsewhere", "other process", "no pages", "half a header", "half a page", "closes", "resets"];

    [SkippableTheory]
    [MemberData(nameof(Misbehaviour))]
    public async Task A_server_that_misbehaves_is_reset_and_nothing_it_said_is_taken(string how)
    {
        using FaultingTask task = new(program, "random", pages: 64, owedEnd: 64);
        List<PageRange> owed = Pattern.OwedRanges(task.Start, 64);
        using ScriptedServer server = new(stream =>
        {
            byte[] frame = new byte[32];
            stream.ReadExactly(frame);
            CriuFrame request = CriuFrameFormat.Since42.Read(frame);
            byte[] page = new byte[PageSize.Bytes];
            switch (how)
            {
                case "half a header":
                    stream.Write(frame.AsSpan(0, 17));
                    break;
                case "closes":
                    break;
                case "resets":
                    stream.Socket.LingerState = new(true, 0);
                    break;
                default:
                    CriuFrameFormat.Since42.Write(frame, new CriuFrame(
                        CriuFrameCommand.PagesFollow,
                        how switch { "no pages" => 0, "more" => request.PageCount + 1, _ => request.PageCount },
                        how == "elsewhere" ? request.Address + (ulong)PageSize.Bytes : request.Address,
                        how == "other process" ? request.Id + 1 : request.Id));
                    if (how == "empty")
                    {
                        BinaryPrimitives.WriteUInt32LittleEndian(frame, CriuFrameCommand.Get);
                    }

                    stream.Write(frame);
                    stream.Write(how == "half a page" ? page.AsSpan(0, 100) : page);
                    break;
            }
        });
        using RemoteFeeder feeder = new(() => server.Connect(32), new FetchPlan([new(Pid, owed)]));
        using LazyMemory memory = new([new(Pid, owed)], feeder, new NoKeeper(), NullLogger.Instance);
        feeder.Start(memory);
        memory.Add(Pid, task.Uffd);
        memory.RestoreFinished();
        task.Go();

        await Assert.ThrowsAnyAsync<IOException>(() => feeder.Failed.WaitAsync(Patience));
        Assert.False(memory.Drained.IsCompleted);
        // What an inconsistent header announced was not installed. (Behind a good one every whole page counts.)
        Assert.Equal(owed.Sum(static range => (long)range.PageCount), memory.Counters.Remaining);
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
