using System.Diagnostics;
using PostCopy.Perf.Support;
using PostCopy.Tests.Testing;
using PostCopy.Transport;

namespace PostCopy.Perf.Comparison;

/// <summary>The push through an encrypted lane, against the same bytes through an SslStream and nothing else: mutual TLS 1.3, the same certificates, the same sockets.</summary>
internal sealed class TlsComparison(bool quick)
{
    private const string Source = "source.example";
    private const string Agent = "agent.example";
    private const string ReferenceName = "SslStream, bytes alone";

    private readonly int _mebibytes = quick ? 512 : 2048;
    private readonly int _pairs = quick ? 3 : 7;

    public async Task<IReadOnlyList<Row>> RunAsync()
    {
        Console.Error.WriteLine($"perf: push of {_mebibytes} MiB, encrypted");
        using TlsHosts hosts = new();
        LoopbackTls tls = new(new TlsDialling(hosts.Identity(Source), Agent), new TlsAccepting(hosts.Identity(Agent), [Source]));
        using MemoryProgram source = new(_mebibytes), target = new(_mebibytes);
        Push(source, target, tls);
        Pairs<PushTime> pairs = await Pairs<PushTime>.RunAsync(
            _pairs,
            () => Task.FromResult(Push(source, target, tls)),
            () => Task.FromResult(Copy(source.Region.ByteCount, tls)));
        return
        [
            pairs.Row($"push over TLS 1.3, frozen process → TCP → installed, {_mebibytes} MiB", "GB/s", ReferenceName, run => run.GBps, Goal.AtLeast(0.8)),
            pairs.Row("CPU time of that, both sides", "s/GiB", ReferenceName, run => run.CpuSecondsPerGiB),
        ];
    }

    private static PushTime Push(MemoryProgram source, MemoryProgram target, LoopbackTls tls)
    {
        using PageTransfer transfer = new(source, tls, target);
        PushTime time = Measure(target.Region.ByteCount, () =>
        {
            transfer.StartPush();
            transfer.WaitUntilDrained();
        });
        target.Verify();
        Console.Error.WriteLine($"perf:   ours: {time}");
        return time;
    }

    private static PushTime Copy(ulong bytes, LoopbackTls tls)
    {
        using BareTls copy = new(tls);
        PushTime time = Measure(bytes, () => copy.Move((long)bytes));
        Console.Error.WriteLine($"perf:   {ReferenceName}: {time}");
        return time;
    }

    private static PushTime Measure(ulong bytes, Action work)
    {
        TimeSpan cpu = Environment.CpuUsage.TotalTime;
        Stopwatch clock = Stopwatch.StartNew();
        work();
        return new PushTime(bytes, clock.Elapsed.TotalSeconds, (Environment.CpuUsage.TotalTime - cpu).TotalSeconds);
    }
}
