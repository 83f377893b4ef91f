using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>Links slower than the machine, and one that is far: how much of them the push takes, and how long faults wait meanwhile.</summary>
internal sealed class LinkComparison(Mover mover, bool quick)
{
    private const int FarMegabits = 1000;
    private const int FarRoundTripMs = 10;

    /// <summary>What a link carries for each byte of ours, in full segments: headers of Ethernet, IP and TCP with time stamps.</summary>
    private const double HeadersShare = 1514.0 / 1448.0;

    private readonly int _pairs = quick ? 1 : 3;

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        List<Row> rows = [.. await OnLinkAsync(1000, quick ? 128 : 512), .. await OnLinkAsync(10_000, quick ? 256 : 1024)];
        string proxy = $"{mover.Lab["b"].Address}:7100";
        await using RunningCommand far = mover.Lab["b"].Start(
            "dotnet", typeof(LinkComparison).Assembly.Location, "delay-proxy", proxy, mover.AgentEndpoint, $"{FarRoundTripMs / 2}");
        await far.WaitForOutputAsync(static command => command.Output.Contains("forwarding", StringComparison.Ordinal), TimeSpan.FromSeconds(30));
        mover.Endpoint = proxy;
        rows.AddRange(await MeasureAsync(FarMegabits, quick ? 128 : 512, $"{FarMegabits / 1000} Gbit/s, {FarRoundTripMs} ms away", FarRoundTripMs));
        mover.Endpoint = mover.AgentEndpoint;
        return rows;
    }

    private Task<IReadOnlyList<Row>> OnLinkAsync(int megabits, int mebibytes) => MeasureAsync(megabits, mebibytes, $"{megabits / 1000} Gbit/s", roundTripMs: 0);

    private async Task<IReadOnlyList<Row>> MeasureAsync(int megabits, int mebibytes, string name, int roundTripMs)
    {
        List<Move> moves = [], idle = [];
        List<double> bare = [];
        await mover.Lab["a"].LimitLinkAsync(megabits);
        try
        {
            for (int i = 0; i < _pairs; i++)
            {
                moves.Add(await mover.MoveByPostCopyAsync(Scenario.RandomSweep, mebibytes));
                idle.Add(await mover.MoveByPostCopyAsync(Scenario.Idle, mebibytes));
                bare.Add(await SendBareAsync(mebibytes));
            }
        }
        finally
        {
            await mover.Lab["a"].UnlimitRateAsync();
        }

        return
        [
            new Row($"link of {name}: sent while draining, program idle", "Mbit/s", Sent(idle), megabits, "link", Goal.AtLeast(0.95)),
            new Row("the same while the program sweeps its memory at random", "Mbit/s", Sent(moves), megabits, "link", Goal.AtLeast(0.95)),
            new Row("what send and recv alone carry on it (C)", "Mbit/s", Pairs<double>.Median(bare, static rate => rate), megabits, "link", null),
            new Row("page waits there while everything is pushed, p99", "ms", Pairs<Move>.Median(moves, move => move.Sweep!.WaitP99Us) / 1e3, roundTripMs + 1, "round trip + 1 ms", Goal.AtMost(1)),
        ];
    }

    /// <summary>Mbit/s, headers included.</summary>
    private static double Sent(List<Move> moves) => Pairs<Move>.Median(moves, move => move.Steps.SentBytes * HeadersShare * 8 / 1e3 / move.Steps.TransferMs);

    /// <summary>The same bytes without a migration, straight from one host to the other. Mbit/s, headers included.</summary>
    private async Task<double> SendBareAsync(int mebibytes)
    {
        string program = $"{mover.Lab.Programs}/link";
        await using RunningCommand receiver = mover.Lab["b"].Start(program, "receive");
        await receiver.WaitForOutputAsync(static command => command.Output.Contains("listening", StringComparison.Ordinal), TimeSpan.FromSeconds(30));
        string port = receiver.Output.Trim().Split(' ')[1];
        AnswerFields answer = new(await mover.Lab["a"].RunAsync(program, "send", mover.Lab["b"].Address, port, $"{mebibytes}"));
        await receiver.WaitAsync(TimeSpan.FromSeconds(30));
        return mebibytes * 1048576.0 * HeadersShare * 8 / 1e6 / answer.Real("seconds");
    }
}
