using System.Globalization;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.DropIn;

/// <summary>
/// Trees that go on doing everything to their memory while it arrives through <c>postcopy lazy-pages</c>, restored by stock <c>criu restore</c>.
/// The link is slow, so that most of it happens in the drain. POSTCOPY_STORM_SEED repeats a run's decisions.
/// </summary>
public sealed class WorkingTreesTests(Xunit.Abstractions.ITestOutputHelper output)
{
    private const int MegabitsPerSecond = 400;
    private const int GroveProcesses = 200;
    private const int GrovePages = 64;

    /// <summary>Where the pages come from.</summary>
    public enum Source
    {
        CriuDump,
        PostCopyServer,
        Images,
    }

    private const string Processes = "threads fork cow exec shell late-exits zombies stacks fresh";
    private const string Mappings = "fork late-exits mremap unmap madvise protect arena gc huge sparse";
    private const string Everything = Processes + " mremap unmap madvise protect arena gc locked files huge nohuge ksm sparse zero seccomp";

    [SkippableTheory]
    [InlineData(Source.CriuDump, Everything)]
    [InlineData(Source.PostCopyServer, Processes)]
    [InlineData(Source.Images, Mappings)]
    public async Task A_storm_goes_on_while_its_memory_arrives(Source source, string workers)
    {
        ulong seed = ulong.TryParse(Environment.GetEnvironmentVariable("POSTCOPY_STORM_SEED"), CultureInfo.InvariantCulture, out ulong given)
            ? given
            : (ulong)Random.Shared.NextInt64();
        output.WriteLine($"POSTCOPY_STORM_SEED={seed}");
        Storm? storm = null;
        await using Scene scene = await Scene.SetAsync(async lab => (storm = await Storm.StartBareAsync(lab, lab["a"], seed, workers.Split(' '))).Pid);
        await MoveAsync(scene, source, () => storm!.WaitForRoundsAsync(3));
        await storm!.FinishAsync();
        storm.Log.AssertRanOn("a", "b");
        await scene.Lab.AssertNothingLeftAsync();
    }

    [SkippableTheory]
    [InlineData(Source.CriuDump)]
    [InlineData(Source.PostCopyServer)]
    [InlineData(Source.Images)]
    public async Task A_tree_of_two_hundred_processes_moves(Source source)
    {
        string directory = "";
        await using Scene scene = await Scene.SetAsync(async lab =>
        {
            directory = Directory.CreateDirectory($"{lab.Shared}/grove").FullName;
            int pid = await BareTree.StartAsync(lab["a"], $"{lab.Programs}/grove", directory, $"{GroveProcesses}", $"{GrovePages}");
            await Condition.WaitAsync(() => File.Exists($"{directory}/log"), Scene.Limit, "all processes of the grove");
            return pid;
        });
        ProgramLog log = new(directory);
        await MoveAsync(scene, source, () => log.WaitForAnotherLineAsync(Scene.Limit));
        await File.WriteAllTextAsync($"{directory}/stop", "");
        await Condition.WaitAsync(() => File.Exists($"{directory}/result"), Scene.Limit, "the grove's result");
        Assert.Equal($"OK {GroveProcesses / 2} children, {(GroveProcesses / 2 - 1) / 10} ended before", (await File.ReadAllTextAsync($"{directory}/result")).Trim());
        log.AssertRanOn("a", "b");
        await scene.Lab.AssertNothingLeftAsync();
    }

    private async Task MoveAsync(Scene scene, Source source, Func<Task> goesOn)
    {
        await scene.Lab["a"].LimitRateAsync(MegabitsPerSecond);
        ReadyCommand? dump = null;
        if (source == Source.Images)
        {
            await scene.DumpWholeAsync();
        }
        else
        {
            dump = await scene.DumpAsync(source == Source.CriuDump ? Player.Criu : Player.PostCopy);
        }

        await using ReadyCommand lazyPages = await scene.LazyPagesAsync(Player.PostCopy, fromServer: dump is not null);
        (await scene.RestoreAsync()).EnsureSuccess();
        await goesOn();
        CommandResult drained = (await lazyPages.WaitAsync()).EnsureSuccess();
        output.WriteLine(drained.Error.Split('\n').FirstOrDefault(static line => line.Contains("all pages are in", StringComparison.Ordinal)) ?? "");
        if (dump is not null)
        {
            (await dump.WaitAsync()).EnsureSuccess();
            await dump.DisposeAsync();
        }

        await goesOn();
    }
}
