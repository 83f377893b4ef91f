using PostCopy.Faults;
using PostCopy.Linux;

namespace PostCopy.Tests.Faults;

/// <summary>Who installs and who reads events keep out of each other's way, and everybody who waits is woken.</summary>
public sealed class AddressSpaceLockTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>In the value that futex(2) compares: somebody wants the lock exclusively. No lock of the runtime has such values.</summary>
    private const int ExclusiveWanted = 1 << 29;

    private readonly AddressSpaceLock _lock = new();

    [Fact]
    public async Task Shared_is_with_others_and_exclusive_is_alone()
    {
        const int Rounds = 20_000;
        int[] holders = new int[2];
        int bad = 0;
        await Task.WhenAll(Enumerable.Range(0, 5).Select(number => Run(() =>
        {
            for (int i = 0; i < Rounds; i++)
            {
                // Two that want it for themselves, three that share.
                if (number < 2)
                {
                    _lock.EnterExclusive();
                    if (Interlocked.Increment(ref holders[1]) != 1 || Volatile.Read(ref holders[0]) != 0)
                    {
                        Interlocked.Increment(ref bad);
                    }

                    Hold(i);
                    Interlocked.Decrement(ref holders[1]);
                    _lock.ExitExclusive();
                }
                else
                {
                    _lock.EnterShared();
                    Interlocked.Increment(ref holders[0]);
                    Hold(i);
                    if (Volatile.Read(ref holders[1]) != 0)
                    {
                        Interlocked.Increment(ref bad);
                    }

                    Interlocked.Decrement(ref holders[0]);
                    _lock.ExitShared();
                }
            }
        }))).WaitAsync(Patience);

        Assert.Equal(0, bad);
        Assert.Equal([0, 0], holders);
    }

    [Fact]
    public async Task Two_share()
    {
        _lock.EnterShared();
        await Run(() =>
        {
            _lock.EnterShared();
            _lock.ExitShared();
        }).WaitAsync(Patience);
        _lock.ExitShared();
    }

    [Fact]
    public async Task Who_wants_it_alone_goes_before_those_that_come_later()
    {
        List<string> order = [];
        _lock.EnterShared();
        Task alone = RunAsleep(() =>
        {
            _lock.EnterExclusive();
            order.Add("exclusive");
            _lock.ExitExclusive();
        });
        Task later = RunAsleep(() =>
        {
            _lock.EnterShared();
            order.Add("shared");
            _lock.ExitShared();
        });
        Assert.Empty(order);
        _lock.ExitShared();
        await Task.WhenAll(alone, later).WaitAsync(Patience);
        Assert.Equal(["exclusive", "shared"], order);
    }

    /// <summary>Short, and now and then long enough that others go to sleep.</summary>
    private static void Hold(int round)
    {
        if (round % 997 == 0)
        {
            Thread.Sleep(1);
        }
        else
        {
            Thread.SpinWait(round % 13);
        }
    }

    private static Task Run(Action action) =>
        Task.Factory.StartNew(action, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>Returns when the action sleeps in the lock.</summary>
    private static Task RunAsleep(Action action)
    {
        int thread = 0;
        Task task = Run(() =>
        {
            Volatile.Write(ref thread, FaultPriority.Thread);
            action();
        });
        Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref thread) is var id and not 0 && SleepsInLock(id), Patience));
        return task;
    }

    /// <summary>proc_pid_syscall(5): the number of the call, its six arguments, and two pointers; or one word if it is in none.</summary>
    private static bool SleepsInLock(int thread)
    {
        const string FutexWaitPrivate = "0x80";
        string[] words = File.ReadAllText($"/proc/self/task/{thread}/syscall").Split(' ');
        return words.Length > 3 && words[2] == FutexWaitPrivate && (Convert.ToUInt64(words[3], 16) & ExclusiveWanted) != 0;
    }
}
