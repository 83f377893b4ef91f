using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using PostCopy.Faults;
using PostCopy.Memory;

namespace PostCopy.Tests.Faults;

/// <summary>The other side: answers requests on a thread of its own and pushes on others, from <see cref="Pattern"/>.</summary>
internal sealed unsafe class Source(ulong regionStart) : IPageRequester, IDisposable
{
    private readonly BlockingCollection<(ImagePid Pid, PageRange Range)> _requests = [];
    private readonly ConcurrentBag<Exception> _errors = [];
    private readonly List<Thread> _threads = [];
    private int _requestCount;

    public int RequestCount => Volatile.Read(ref _requestCount);

    /// <summary>Requests that were not answered because <see cref="Lose"/> was set.</summary>
    public volatile bool Lose;

    public void Request(ImagePid pid, PageRange range)
    {
        Interlocked.Increment(ref _requestCount);
        if (!Lose)
        {
            _requests.Add((pid, range));
        }
    }

    public void AnswerRequests(LazyMemory memory) => Start("demand", () =>
    {
        byte* buffer = (byte*)NativeMemory.Alloc((nuint)PageSize.Bytes * 64);
        foreach ((ImagePid pid, PageRange range) in _requests.GetConsumingEnumerable())
        {
            Send(memory, pid, range, buffer);
        }

        NativeMemory.Free(buffer);
    });

    /// <summary>Pushes ranges in the given order, <paramref name="chunkPages"/> at a time, with a rest between chunks.</summary>
    public Thread Push(LazyMemory memory, ImagePid pid, IEnumerable<PageRange> ranges, ulong chunkPages, TimeSpan rest = default) => Start("push", () =>
    {
        byte* buffer = (byte*)NativeMemory.Alloc((nuint)PageSize.Bytes * (nuint)chunkPages);
        foreach (PageRange range in ranges)
        {
            for (ulong page = 0; page < range.PageCount; page += chunkPages)
            {
                Send(memory, pid, new PageRange(range.Start + PageSize.ToBytes(page), Math.Min(chunkPages, range.PageCount - page)), buffer);
                if (rest > TimeSpan.Zero)
                {
                    Thread.Sleep(rest);
                }
            }
        }

        NativeMemory.Free(buffer);
    });

    /// <summary>Puts all of it in place from here, with a rest between a few pages and the next.</summary>
    public Thread InstallStaged(LazyMemory memory, ImagePid pid, PatternStaged staged, TimeSpan rest) => Start("staged", () => staged.InstallAll(memory, pid, rest));

    public void AssertNoErrors() => Assert.Empty(_errors);

    public void Dispose()
    {
        _requests.CompleteAdding();
        _threads.ForEach(thread => Assert.True(thread.Join(TimeSpan.FromSeconds(30)), $"thread {thread.Name} hangs"));
        _requests.Dispose();
    }

    private void Send(LazyMemory memory, ImagePid pid, PageRange range, byte* buffer)
    {
        if (range.PageCount == 1 && Pattern.IsZero((range.Start - regionStart) >> PageSize.Shift))
        {
            memory.InstallZero(pid, range);
            return;
        }

        Span<byte> bytes = new(buffer, (int)range.ByteCount);
        Pattern.Fill(regionStart, range, bytes);
        memory.Install(pid, range, bytes);
    }

    private Thread Start(string name, Action body)
    {
        Thread thread = new(() =>
        {
            try
            {
                body();
            }
            catch (OperationCanceledException)
            {
                // The memory was disposed of while it installed; the test says whether that was right.
            }
            catch (Exception exception)
            {
                _errors.Add(exception);
            }
        })
        { Name = name, IsBackground = true };
        _threads.Add(thread);
        thread.Start();
        return thread;
    }
}
