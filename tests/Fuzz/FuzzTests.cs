using System.Diagnostics;
using System.Globalization;
using PostCopy.Tests.TestBed;
using Xunit.Abstractions;

namespace PostCopy.Tests.Fuzz;

/// <summary>
/// Everything that reads what others wrote, fed with damaged input: no crash, no unexpected exception, no memory or time out of proportion. A second
/// for each reader; <c>eng/fuzz.sh MINUTES</c> goes on for longer.
/// </summary>
[Collection(FuzzCollection.Name)]
public sealed class FuzzTests(ITestOutputHelper output)
{
    /// <summary>The longest input has 64 KiB, and sockets and pipes take their blocks from pools that the target owns.</summary>
    private const long MaxAllocatedBytes = 32L << 20;

    private static readonly TimeSpan MaxTime = TimeSpan.FromSeconds(30);

    public static TheoryData<string> Names => [.. FuzzTargets.All.Select(static target => target.Name)];

    [Theory]
    [MemberData(nameof(Names), DisableDiscoveryEnumeration = true)]
    public async Task Damaged_input_is_refused_in_order(string name)
    {
        FuzzTarget target = FuzzTargets.All.Single(target => target.Name == name);
        int seed = Setting("POSTCOPY_FUZZ_SEED") ?? Random.Shared.Next();
        TimeSpan duration = Setting("POSTCOPY_FUZZ_MINUTES") is { } minutes ? TimeSpan.FromMinutes(minutes) / FuzzTargets.All.Count : TimeSpan.FromSeconds(1);
        Assert.All(target.Corpus, input => Assert.True(target.Accepts(input), "the corpus must be valid"));

        Mutator mutator = new(seed);
        byte[] input = [];
        long accepted = 0;
        long runs = 0;
        long startedAt = Stopwatch.GetTimestamp();
        Task reading = Task.Factory.StartNew(
            () =>
            {
                Stopwatch watch = Stopwatch.StartNew();
                while (watch.Elapsed < duration)
                {
                    Volatile.Write(ref input, mutator.Next(target.Corpus));
                    Volatile.Write(ref startedAt, Stopwatch.GetTimestamp());
                    long before = GC.GetAllocatedBytesForCurrentThread();
                    accepted += target.Accepts(input) ? 1 : 0;
                    long allocated = GC.GetAllocatedBytesForCurrentThread() - before;
                    Assert.True(allocated < MaxAllocatedBytes, $"{input.Length} bytes made {allocated} bytes of garbage");
                    runs++;
                }
            },
            CancellationToken.None,
            TaskCreationOptions.LongRunning,
            TaskScheduler.Default);
        try
        {
            while (await Task.WhenAny(reading, Task.Delay(MaxTime)) != reading)
            {
                Assert.True(Stopwatch.GetElapsedTime(Volatile.Read(ref startedAt)) < MaxTime, $"no end after {MaxTime}");
            }

            await reading;
        }
        catch
        {
            string file = Path.Combine(Directory.CreateDirectory(Path.Combine(Repository.Root, "artifacts", "fuzz")).FullName, $"{name}-{seed}.bin");
            await File.WriteAllBytesAsync(file, input);
            output.WriteLine($"{name}: input {runs + 1} of seed {seed} is in {file}; eng/fuzz.sh 1 {seed} repeats it");
            throw;
        }

        output.WriteLine($"{name}: {runs} inputs of seed {seed}, {accepted} accepted");
        Assert.True(runs > 0 && accepted < runs, "nothing was refused: the reader does not look, or the damage is none");
    }

    private static int? Setting(string name) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), CultureInfo.InvariantCulture, out int value) ? value : null;
}

/// <summary>The targets share what they have on disk. Other tests do not disturb: memory is counted by thread, and the time limit is generous.</summary>
[CollectionDefinition(Name)]
public sealed class FuzzCollection : ICollectionFixture<FuzzScratch>
{
    public const string Name = "fuzz";
}

/// <summary>Removes what the targets have on disk.</summary>
public sealed class FuzzScratch : IDisposable
{
    public void Dispose()
    {
        FileTargets.CleanUp();
        LaneTargets.CleanUp();
        RecoveryTargets.CleanUp();
    }
}
