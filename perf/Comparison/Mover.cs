using System.Diagnostics;
using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>Moves the same container from one host to another, by postcopy or by runc with stock <c>criu lazy-pages</c>, over the same wire, and measures it.</summary>
internal sealed class Mover : IAsyncDisposable
{
    // The dump keeps all of the memory in pipes, ours too although nobody reads them. CRIU wants them to have 4 MiB each.
    private const string PipeMaxSize = "/proc/sys/fs/pipe-max-size";
    private const long NeededPipeBytes = 4 << 20;

    private static readonly TimeSpan SweepLimit = TimeSpan.FromMinutes(5);

    private readonly RunningAgent _agent;
    private readonly HostMeter _source;
    private readonly HostMeter _target;
    private readonly string _pipeMaxSize = File.ReadAllText(PipeMaxSize);

    private Mover(Lab lab, RunningAgent agent)
    {
        Lab = lab;
        _agent = agent;
        _source = new HostMeter(lab, lab["a"]);
        _target = new HostMeter(lab, lab["b"]);
        if (long.Parse(_pipeMaxSize) < NeededPipeBytes)
        {
            File.WriteAllText(PipeMaxSize, $"{NeededPipeBytes}");
        }
    }

    public Lab Lab { get; }

    /// <summary>Whom the source dials; something in between, if it is told so.</summary>
    public string Endpoint { get; set; } = "";

    public string AgentEndpoint => _agent.Endpoint;

    public static async Task<Mover> UpAsync()
    {
        Lab lab = await Lab.UpAsync("a", "b");
        try
        {
            RunningAgent agent = await lab["b"].StartAgentAsync();
            return new Mover(lab, agent) { Endpoint = agent.Endpoint };
        }
        catch
        {
            await lab.DisposeAsync();
            throw;
        }
    }

    public Task<Move> MoveByPostCopyAsync(Scenario scenario, int mebibytes, params string[] options) =>
        MoveOnceAsync(scenario, mebibytes, string.Join(' ', ["postcopy", .. options]), container => MoveByPostCopyAsync(container, options));

    public Task<Move> MoveByStockAsync(Scenario scenario, int mebibytes) => MoveByStockAsync(scenario, mebibytes, ourServer: false, ourDaemon: false);

    /// <summary>By the same commands, one or two of them ours.</summary>
    public Task<Move> MoveByStockAsync(Scenario scenario, int mebibytes, bool ourServer, bool ourDaemon) => MoveOnceAsync(
        scenario,
        mebibytes,
        $"{(ourDaemon ? "postcopy" : "criu")} lazy-pages{(ourServer ? " on postcopy page-server" : "")}",
        container => MoveByStockAsync(container, ourServer, ourDaemon));

    public async ValueTask DisposeAsync()
    {
        await _agent.DisposeAsync();
        await Lab.DisposeAsync();
        await File.WriteAllTextAsync(PipeMaxSize, _pipeMaxSize);
    }

    /// <summary>Begins to move a container by postcopy.</summary>
    public Migration Start(string containerId, params string[] options) => Migration.Start(Lab, Lab["a"], containerId, Endpoint, _agent.TokenFile, options);

    /// <summary>The program's sweep alone. The container then ends where it is: with some policies not all of its memory would ever come.</summary>
    public async Task<WalkerSweep> SweepByPostCopyAsync(Scenario scenario, int mebibytes, params string[] options)
    {
        Console.Error.Write($"perf: {mebibytes} MiB, {scenario.Name}, {string.Join(' ', options)}: ");
        Walker walker = await StartAsync(scenario, mebibytes);
        await using Migration migration = Start(walker.Container.Id, options);
        WalkerSweep sweep = await walker.SweepAfterMoveAsync(SweepLimit);
        await walker.VerifyAsync();
        await EndAsync(walker);
        await migration.WaitAsync();
        Console.Error.WriteLine($"swept in {sweep.TotalMs:0} ms");
        return sweep;
    }

    private async Task<Walker> StartAsync(Scenario scenario, int mebibytes)
    {
        Walker walker = await Walker.StartAsync(Lab, Lab["a"], mebibytes, contents: scenario.Contents);
        await walker.RestAsync();
        if (scenario.Sweep is { } order)
        {
            await walker.SweepOnMoveAsync(order);
        }

        return walker;
    }

    private async Task EndAsync(Walker walker)
    {
        await walker.Container.RemoveFromAsync(Lab["b"]);
        foreach (string leftover in (string[])["walker", "walker-bundle"])
        {
            Directory.Delete($"{Lab.Shared}/{leftover}", recursive: true);
        }
    }

    private async Task<Move> MoveOnceAsync(Scenario scenario, int mebibytes, string name, Func<Container, Task<Steps>> mover)
    {
        Console.Error.Write($"perf: {mebibytes} MiB, {scenario.Name}, {name}: ");
        Walker walker = await StartAsync(scenario, mebibytes);
        double cpu = _source.CpuSeconds + _target.CpuSeconds;
        long wire = _target.WireBytes;
        using ProcessSampler onSource = new(_source);
        using ProcessSampler onTarget = new(_target);
        Stopwatch clock = Stopwatch.StartNew();
        Steps steps = await mover(walker.Container);
        double totalMs = clock.Elapsed.TotalMilliseconds;
        cpu = _source.CpuSeconds + _target.CpuSeconds - cpu;
        wire = _target.WireBytes - wire;

        WalkerSweep? sweep = scenario switch
        {
            { Sweep: not null } => await walker.SweepAfterMoveAsync(SweepLimit),
            { SweepWhenDrained: { } order } => await walker.SweepAsync(order),
            _ => null,
        };
        await walker.VerifyAsync();
        walker.AssertRanOn("a", "b");
        Move move = new(sweep, steps, StandstillMs(walker), totalMs, wire, cpu, onSource.PeakMiB, onSource.PeakDescriptors, onTarget.PeakMiB, onTarget.PeakDescriptors, Math.Max(onSource.LargestMiB, onTarget.LargestMiB));
        Console.Error.WriteLine($"{steps.DumpMs:0} + {steps.ImagesMs:0} + {steps.RestoreMs:0} ms, drained in {steps.DrainMs:0} ms{(sweep is null ? "" : $", swept in {sweep.TotalMs:0} ms")}");

        await EndAsync(walker);
        return move;
    }

    private async Task<Steps> MoveByPostCopyAsync(Container container, string[] options)
    {
        await using Migration migration = Start(container.Id, options);
        MigrationReport report = (await migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        double dumpMs = report.FreezeMs + report.DumpMs;
        return new Steps(dumpMs, report.ImagesMs, report.DowntimeMs - dumpMs - report.ImagesMs, report.DrainMs, report.DowntimeMs - dumpMs - report.RestoreMs,
            TransferMs: report.Pages.Total * 4096 / 1e3 / report.RateMBps, SentBytes: report.BytesOnWire);
    }

    private async Task<Steps> MoveByStockAsync(Container container, bool ourServer, bool ourDaemon)
    {
        StockTimes times = await StockMigration.RunAsync(Lab, container, Lab["a"], Lab["b"], ourServer: ourServer, ourDaemon: ourDaemon);
        return new Steps(times.Dump.TotalMilliseconds, times.CopyImages.TotalMilliseconds, times.Restore.TotalMilliseconds, times.Drain.TotalMilliseconds, OwnMs: 0);
    }

    private static double StandstillMs(Walker walker)
    {
        List<ProgramLogLine> log = walker.ReadLog();
        return log.Zip(log.Skip(1), (line, next) => (From: line, To: next))
            .Where(pair => pair.From.Host != pair.To.Host)
            .Select(pair => (pair.To.UnixUs - pair.From.UnixUs) / 1e3)
            .Single();
    }
}
