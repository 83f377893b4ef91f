using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using PostCopy.Perf.Support;
using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>The same container moved with and without <c>--pre-copy</c>, in turns, over the same wire: eng/bench-precopy.sh.</summary>
internal sealed class PreCopyComparison(bool quick)
{
    private static readonly TimeSpan Window = TimeSpan.FromMilliseconds(100);

    /// <summary>For so long a program that is not back at its speed is watched when all of its memory has come.</summary>
    private static readonly TimeSpan Watched = TimeSpan.FromSeconds(30);

    /// <summary>A program is back at its speed when so many windows in a row have nearly its speed of before.</summary>
    private const int WindowsInARow = 5;
    private const double NearlyAll = 0.95;

    private const int WritesPerSecond = 5000;

    private const string WalkerProgram = "walker";
    private const string RedisProgram = "redis";
    private const string CopiedProgram = "copied-walker";

    private static readonly string[] StopCopy = ["--mode", "stop-copy"];

    private static readonly int?[] Links = [1000, null];

    private readonly int _mebibytes = quick ? 128 : 1024;

    /// <summary>In the order in which they are moved.</summary>
    public static readonly IReadOnlyList<string> Programs = [WalkerProgram, RedisProgram, CopiedProgram];

    /// <summary>Prints a table as it goes. Exit code 0 when every container survived.</summary>
    public async Task<int> RunAsync(IReadOnlyList<string> programs)
    {
        using FreeMemory kept = FreeMemory.Keep();
        Console.WriteLine($"{Machine.Describe()}\n");
        Console.WriteLine($"Medians of {Pairs(1000)} moves each, unshaped of {Pairs(null)}, in turns.\n");
        Console.WriteLine("| program | link | measure | post-copy | pre-copy | goal |");
        Console.WriteLine("|---|---|---|---:|---:|---|");
        foreach (int? megabits in programs.Contains(WalkerProgram) ? Links : [])
        {
            Print($"walker, {_mebibytes} MiB", megabits, await MoveInPairsAsync(megabits, options => MoveWalkerAsync(megabits, options)));
        }

        if (programs.Contains(WalkerProgram))
        {
            PrintFloor(WalkerProgram, await MoveWalkerAsync(null, StopCopy));
        }

        foreach (int? megabits in programs.Contains(RedisProgram) ? Links : [])
        {
            Print($"Redis, {_mebibytes} MiB, writes", megabits, await MoveInPairsAsync(megabits, options => MoveRedisAsync(megabits, options)));
        }

        if (programs.Contains(RedisProgram))
        {
            PrintFloor(RedisProgram, await MoveRedisAsync(null, StopCopy));
        }

        if (programs.Contains(CopiedProgram))
        {
            Moved slowed = await MoveWalkerAsync(null, ["--pre-copy", "--max-rate", "200"]);
            Console.WriteLine(Invariant($"| walker | unshaped | speed while it is copied at 200 MB/s, of before | | {slowed.SpeedWhileCopied:P0} | ≥ 90 % |"));
        }

        return 0;
    }

    /// <summary>More where the downtime is what differs: it is CRIU's for the most part, and scatters by more than what is looked for.</summary>
    private int Pairs(int? megabits) => quick ? 1 : megabits is null ? 7 : 3;

    private Task<Pairs<Moved>> MoveInPairsAsync(int? megabits, Func<string[], Task<Moved>> move) =>
        Pairs<Moved>.RunAsync(Pairs(megabits), () => move(["--pre-copy"]), () => move([]));

    private static void Print(string program, int? megabits, Pairs<Moved> pairs)
    {
        string link = megabits is null ? "unshaped" : "1 Gbit/s";
        void Row(string measure, string before, string after, string goal) => Console.WriteLine($"| {program} | {link} | {measure} | {before} | {after} | {goal} |");
        void Medians(string measure, Func<Moved, double> value, Func<double, string> show, string goal) =>
            Row(measure, show(Pairs<Moved>.Median(pairs.Reference, value)), show(Pairs<Moved>.Median(pairs.Ours, value)), goal);
        Medians("faults that waited for the source", static moved => moved.Report.Faults.Count, static value => Invariant($"{value:F0}"), "≤ 10 %");
        Medians("back at its speed after", static moved => moved.BackAfterMs, static value => value switch
        {
            double.PositiveInfinity => "not while it was watched",
            _ when value < Window.TotalMilliseconds => Invariant($"< {Window.TotalMilliseconds:F0} ms"),
            _ => Ms(value),
        }, "≤ 20 %");
        Medians("downtime", static moved => moved.Report.DowntimeMs, Ms, "≤ + 15 ms/GiB");
        Medians("of it: dump", static moved => moved.Report.FreezeMs + moved.Report.DumpMs, Ms, "");
        Medians("of it: images", static moved => moved.Report.ImagesMs, Ms, "");
        Medians("of it: restore", static moved => moved.Report.RestoreMs, Ms, "");
        Medians("bytes, of memory", static moved => moved.BytesOfMemory, static value => Invariant($"{value:F2}"), "≤ 1.3");
        Moved last = pairs.Ours[^1];
        Row("rounds, and why they ended", "", $"{last.Report.PreCopy!.Rounds.Length}, {last.Report.PreCopy.Ended}", "");
        Row("there at the freeze", "", Invariant($"{last.Report.Pages.Staged * 100.0 / last.Report.Pages.Total:F0} %"), "");
    }

    /// <summary>Not copied before, and nothing owed when it runs: what CRIU's restore itself does to the speed of a program on this machine.</summary>
    private static void PrintFloor(string program, Moved whole) =>
        Console.WriteLine(Invariant($"| {program} | unshaped | back at its speed after a stop-copy | {Ms(whole.BackAfterMs)} | | |"));

    private static string Ms(double value) => Invariant($"{value:F0} ms");

    private async Task<Moved> MoveWalkerAsync(int? megabits, string[] options)
    {
        await using Lab lab = await UpAsync(megabits);
        Walker walker = await Walker.StartAsync(lab, lab["a"], _mebibytes);
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Moved moved = await MeasureAsync(lab, agent, walker.Container, options, async () =>
        {
            WalkerStats stats = await walker.StatsAsync();
            return new Count(Stopwatch.GetElapsedTime(0), stats.Reads + stats.Writes);
        });
        await walker.VerifyAsync();
        await walker.Container.RemoveFromAsync(lab["b"]);
        return moved;
    }

    private async Task<Moved> MoveRedisAsync(int? megabits, string[] options)
    {
        await using Lab lab = await UpAsync(megabits);
        string bundle = await Bundle.MakeAsync(lab, "redis-bundle", "host", [], "redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--appendonly", "no", "--enable-debug-command", "yes");
        Container redis = await Container.RunAsync(lab["a"], "redis", bundle);
        await Condition.WaitAsync(() => lab["a"].IsListening(6379), TimeSpan.FromSeconds(20), "redis to listen");
        int keys = _mebibytes * 900;
        await lab["a"].RunAsync("redis-cli", "DEBUG", "POPULATE", $"{keys}", "key", "1000");
        await using RunningCommand writer = lab["client"].Start(
            "dotnet", typeof(PreCopyComparison).Assembly.Location, "redis-writer", $"{keys}", $"{WritesPerSecond}", $"{lab["a"].Address}:6379", $"{lab["b"].Address}:6379");
        await writer.WaitForOutputAsync(static command => Answered(command).Done > WritesPerSecond, TimeSpan.FromSeconds(20));
        // The writer connects anew: the host that Redis is on has another address.
        string criu = $"{lab.Shared}/criu.conf";
        await File.WriteAllTextAsync(criu, "tcp-close\n");
        await using RunningAgent agent = await lab["b"].StartAgentAsync();
        Moved moved = await MeasureAsync(lab, agent, redis, ["--criu-config", criu, .. options], () => Task.FromResult(Answered(writer)));
        await redis.RemoveFromAsync(lab["b"]);
        return moved;
    }

    /// <summary>The last whole line of the writer's.</summary>
    private static Count Answered(RunningCommand writer)
    {
        string line = writer.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).LastOrDefault("0 0");
        long[] last = [.. line.Split(' ').Select(static word => long.Parse(word, CultureInfo.InvariantCulture))];
        return new Count(TimeSpan.FromMicroseconds(last[0]), last[1]);
    }

    private static async Task<Lab> UpAsync(int? megabits)
    {
        Lab lab = await Lab.UpAsync("a", "b", "client");
        if (megabits is { } rate)
        {
            await lab["a"].LimitRateAsync(rate);
        }

        return lab;
    }

    private async Task<Moved> MeasureAsync(Lab lab, RunningAgent agent, Container container, string[] options, Func<Task<Count>> work)
    {
        ConcurrentQueue<(TimeSpan At, Count Work)> samples = [];
        TimeSpan resumed = TimeSpan.MaxValue;
        double before = 0;
        using CancellationTokenSource stop = new();
        Stopwatch clock = Stopwatch.StartNew();
        Task sampling = SampleAsync();
        await Task.Delay(TimeSpan.FromSeconds(2));
        TimeSpan began = clock.Elapsed;
        before = Speed(TimeSpan.Zero, began);
        Task<MigrationResult> moving = Migration.RunAsync(lab, lab["a"], container, agent, options);
        // The command ends later: behind the drain the source's copy is still to be removed.
        await agent.Process.WaitForOutputAsync(static agent => agent.Error.Contains("runs here", StringComparison.Ordinal), TimeSpan.FromMinutes(3));
        resumed = clock.Elapsed;
        MigrationReport report = (await moving).Expect(ExitCode.Moved, "moved");
        await Task.WhenAny(sampling, Task.Delay(Watched));
        await stop.CancelAsync();
        await sampling;
        double whileCopied = Speed(began, resumed - TimeSpan.FromMilliseconds(report.DowntimeMs));
        return new Moved(report, BackAfter(), report.BytesOnWire / (_mebibytes * 1048576.0), before > 0 ? whileCopied / before : 0);

        async Task SampleAsync()
        {
            using PeriodicTimer tick = new(Window);
            while (!stop.IsCancellationRequested && BackAfter() == double.PositiveInfinity)
            {
                samples.Enqueue((clock.Elapsed, await work()));
                await tick.WaitForNextTickAsync();
            }
        }

        double Speed(TimeSpan from, TimeSpan to)
        {
            (TimeSpan At, Count Work)[] within = [.. samples.Where(sample => sample.At >= from && sample.At <= to)];
            return within.Length < 2 ? 0 : within[^1].Work.PerSecondSince(within[0].Work);
        }

        double BackAfter()
        {
            int row = 0;
            (TimeSpan At, Count Work)[] taken = [.. samples.Where(sample => sample.At >= resumed)];
            for (int i = 1; i < taken.Length; i++)
            {
                row = taken[i].Work.PerSecondSince(taken[i - 1].Work) >= before * NearlyAll ? row + 1 : 0;
                if (row == WindowsInARow)
                {
                    return (taken[i - WindowsInARow].At - resumed).TotalMilliseconds;
                }
            }

            return double.PositiveInfinity;
        }
    }

    /// <summary>What a program has done, as of a time on the clock of whoever counts: when the count was read says less, and a writer's comes a tenth of a window at a time.</summary>
    private readonly record struct Count(TimeSpan At, long Done)
    {
        /// <summary>0 when there is no later word.</summary>
        public double PerSecondSince(Count earlier) => At > earlier.At ? (Done - earlier.Done) / (At - earlier.At).TotalSeconds : 0;
    }

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);

    /// <param name="Report">Of the migration.</param>
    /// <param name="BackAfterMs">From the resume to the first of five windows at full speed.</param>
    /// <param name="BytesOfMemory">Bytes on the wire over those of the program's memory.</param>
    /// <param name="SpeedWhileCopied">Its speed from the command to the freeze, over that before.</param>
    private sealed record Moved(MigrationReport Report, double BackAfterMs, double BytesOfMemory, double SpeedWhileCopied);
}
