using System.Net.Sockets;
using PostCopy.Buffers;
using PostCopy.Linux;
using PostCopy.Memory;
using PostCopy.Pages;
using PostCopy.PreCopy;
using PostCopy.Staging;
using PostCopy.Tests.TestBed;
using PostCopy.Tests.Testing;
using PostCopy.Transport;

namespace PostCopy.Tests.PreCopy;

/// <summary>
/// What counts as valid behind the freeze is what the frozen memory holds, whatever programs do to their memory meanwhile. POSTCOPY_STALE_SECONDS repeats it for so
/// long.
/// </summary>
public sealed class StaleTests(Xunit.Abstractions.ITestOutputHelper output)
{
    private static readonly string[] Writers =
        ["threads", "fork", "cow", "exec", "mremap", "unmap", "madvise", "protect", "arena", "gc", "fresh", "stacks", "huge", "nohuge", "sparse", "zero", "files", "shared"];

    [SkippableFact]
    public async Task No_page_that_changed_is_valid()
    {
        Bed.RequirePostCopy();
        double seconds = double.Parse(Environment.GetEnvironmentVariable("POSTCOPY_STALE_SECONDS") ?? "0", System.Globalization.CultureInfo.InvariantCulture);
        DateTime end = DateTime.UtcNow.AddSeconds(seconds);
        do
        {
            long valid = 0;
            long wrong;
            for (int attempt = 1; valid == 0; attempt++)
            {
                Assert.True(attempt <= 3, "no page was valid: that proves nothing");
                // Where they get enough of the CPUs, all of them write everything anew before they are frozen.
                (valid, wrong) = await CopyAndCompareAsync(freezeFirst: true, "storm", ["1", .. Writers]);
                output.WriteLine($"{valid} valid pages, {wrong} wrong");
                Assert.Equal(0, wrong);
            }

            (valid, wrong) = await CopyAndCompareAsync(freezeFirst: true, "walker", ["64", "2"]);
            output.WriteLine($"{valid} valid pages of a walker, {wrong} wrong");
            Assert.True(valid > 1000, $"only {valid} pages of a walker were valid");
            Assert.Equal(0, wrong);
        }
        while (DateTime.UtcNow < end);
    }

    /// <summary>The test above can fail: a last look that comes before the freeze lets pages through that change after it.</summary>
    [SkippableFact]
    public async Task Without_the_last_look_there_are_such_pages()
    {
        Bed.RequirePostCopy();
        (long valid, long wrong) = await CopyAndCompareAsync(freezeFirst: false, "walker", ["64", "2"]);
        output.WriteLine($"{valid} valid pages, {wrong} wrong");
        Assert.True(wrong > 0, "nothing was written between the last look and the freeze: the writers are too lazy");
    }

    private static async Task<(long Valid, long Wrong)> CopyAndCompareAsync(bool freezeFirst, string program, string[] arguments)
    {
        string programs = await TestPrograms.DirectoryAsync();
        DirectoryInfo directory = Directory.CreateTempSubdirectory("postcopy-stale-");
        ChildProcess storm = ChildProcess.Start($"{programs}/{program}", [directory.FullName, .. arguments], newSession: true);
        int[] stopped = [];
        try
        {
            await Condition.WaitAsync(() => File.Exists($"{directory}/log") || (File.Exists($"{directory}/status") && File.ReadAllLines($"{directory}/status").Length >= Writers.Length), TimeSpan.FromSeconds(60), "the writers");
            PreCopySettings settings = new(Repository.PostCopy, directory.FullName, MaxRounds: 5, TimeSpan.FromSeconds(20), MaxBytesPerSecond: 0);
            using PagePool pool = new();
            (Socket ours, Socket theirs) = LanePair.Sockets();
            theirs.ReceiveTimeout = 0;
            using SocketLane source = new(ours, pool);
            using SocketLane destination = new(theirs, pool);
            using StagedMemory staged = new(new StagingBudget(4L << 30));
            Task<bool> receiving = Task.Factory.StartNew(() => new StagingReceiver(destination, staged, checksums: true).Receive(), TaskCreationOptions.LongRunning);
            using PreCopyRun run = new(storm.Pid, settings, source, checksums: true);
            bool possible = await Task.Factory.StartNew(() => run.Copy(new Progress<PreCopyProgress>(), CancellationToken.None), TaskCreationOptions.LongRunning);
            Assert.True(possible, string.Join("; ", run.Notes));
            Dictionary<ImagePid, int> tasks = [];
            if (freezeFirst)
            {
                (tasks, stopped) = await FreezeAsync(storm.Pid);
                run.Validate(Owed(tasks), tasks);
            }
            else
            {
                tasks = TaskTree.Map(storm.Pid);
                run.Validate(Owed(tasks), tasks);
                await Task.Delay(300);
                (_, stopped) = await FreezeAsync(storm.Pid);
            }

            Assert.True(await receiving);
            return Compare(staged, tasks);
        }
        catch (Exception e) when (storm.HasExited)
        {
            // A writer that found its memory changed ends all of them.
            string result = File.Exists($"{directory}/result") ? File.ReadAllText($"{directory}/result") : "they said nothing";
            throw new InvalidOperationException($"the writers have ended: {result}", e);
        }
        finally
        {
            Array.ForEach(stopped, pid => Signal(pid, Mono.Unix.Native.Signum.SIGCONT));
            File.WriteAllText($"{directory}/stop", "");
            using CancellationTokenSource patience = new(program == "storm" ? TimeSpan.FromSeconds(30) : TimeSpan.Zero);
            try
            {
                await storm.WaitAsync(patience.Token);
            }
            catch (OperationCanceledException)
            {
                Signal(storm.Pid, Mono.Unix.Native.Signum.SIGKILL);
                await storm.WaitAsync(CancellationToken.None);
            }

            // Whoever of its session is left.
            Signal(-storm.Pid, Mono.Unix.Native.Signum.SIGKILL);
            directory.Delete(recursive: true);
        }
    }

    /// <summary>All memory that could be owed: mappings as a whole.</summary>
    private static List<KeyValuePair<ImagePid, IReadOnlyList<PageRange>>> Owed(Dictionary<ImagePid, int> tasks) =>
    [
        .. tasks.Where(static task => Directory.Exists($"/proc/{task.Value}")).Select(static task => KeyValuePair.Create<ImagePid, IReadOnlyList<PageRange>>(
            task.Key, [.. ProcessMap.Of(task.Value).Where(static mapping => mapping is { IsPrivateAnonymous: true, IsReadable: true }).Select(static mapping => mapping.Range)])),
    ];

    /// <summary>Processes may be forked while others are being stopped. Who has called vfork(2) stops only when its child runs on.</summary>
    private static async Task<(Dictionary<ImagePid, int> Tasks, int[] Stopped)> FreezeAsync(int root)
    {
        DateTime end = DateTime.UtcNow.AddSeconds(60);
        while (true)
        {
            Dictionary<ImagePid, int> tasks = TaskTree.Map(root);
            SignalAll(tasks, Mono.Unix.Native.Signum.SIGSTOP);
            bool stopped = SpinWait.SpinUntil(() => tasks.Values.All(static pid => !Directory.Exists($"/proc/{pid}") || AllThreadsStopped(pid)), TimeSpan.FromSeconds(1));
            Dictionary<ImagePid, int> now = TaskTree.Map(root);
            if (stopped && now.Values.ToHashSet().IsSubsetOf(tasks.Values))
            {
                return (now, [.. now.Values]);
            }

            if (!stopped)
            {
                SignalAll(tasks, Mono.Unix.Native.Signum.SIGCONT);
                await Task.Delay(10);
            }

            Assert.True(DateTime.UtcNow < end, "the writers could not be stopped");
        }
    }

    private static void SignalAll(Dictionary<ImagePid, int> tasks, Mono.Unix.Native.Signum signal)
    {
        foreach (int pid in tasks.Values)
        {
            Signal(pid, signal);
        }
    }

    private static bool AllThreadsStopped(int pid)
    {
        try
        {
            return Directory.GetDirectories($"/proc/{pid}/task").All(static thread => File.ReadAllText($"{thread}/stat") is var stat && stat[stat.LastIndexOf(')') + 2] is 'T' or 'Z');
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static void Signal(int pid, Mono.Unix.Native.Signum signal) => _ = Mono.Unix.Native.Syscall.kill(pid, signal);

    private static unsafe (long Valid, long Wrong) Compare(StagedMemory staged, Dictionary<ImagePid, int> tasks)
    {
        long valid = 0;
        long wrong = 0;
        byte[] there = new byte[PageSize.Bytes];
        foreach ((ImagePid pid, StagedRegion region) in staged.Regions())
        {
            for (int page = 0; page < StagedRegion.Pages; page++)
            {
                if (staged.RunOf(region, page, 1, out byte* bytes) == 1)
                {
                    valid++;
                    ReadOnlySpan<byte> kept = bytes is null ? new byte[PageSize.Bytes] : new ReadOnlySpan<byte>(bytes, PageSize.Bytes);
                    bool read = Directory.Exists($"/proc/{tasks[pid]}") && RemoteMemory.Read(tasks[pid], region.AddressOf(page), there) == PageSize.Bytes;
                    wrong += read && kept.SequenceEqual(there) ? 0 : 1;
                }
            }
        }

        return (valid, wrong);
    }
}
