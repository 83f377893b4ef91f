using System.Globalization;
using PostCopy.Perf.Support;
using PostCopy.Tests.TestBed;

namespace PostCopy.Perf.Comparison;

/// <summary>The bare system calls in C (tests/TestPrograms/ceiling.c).</summary>
internal static class Ceiling
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);

    /// <summary>Moves the whole region.</summary>
    public static async Task<PushTime> PushAsync(MemoryProgram source, MemoryProgram target)
    {
        int descriptor = target.Arm();
        CommandResult result = await RunningCommand.RunAsync(Limit, TestProgram.PathOf("ceiling"),
            "push", $"{source.Pid}", $"{target.Pid}", $"{descriptor}", $"{target.Region.Start:x}", $"{target.Region.ByteCount >> 20}");
        AnswerFields fields = new(result.EnsureSuccess().Output);
        return new PushTime(target.Region.ByteCount, fields.Real("seconds"), fields.Real("cpu"));
    }

    /// <summary>Serves a random sweep.</summary>
    public static async Task<WalkerSweep> ServeSweepAsync(MemoryProgram source, MemoryProgram target)
    {
        int descriptor = target.Arm();
        await using RunningCommand server = RunningCommand.Start(TestProgram.PathOf("ceiling"),
            "faults", source.Pid.ToString(CultureInfo.InvariantCulture), $"{target.Pid}", $"{descriptor}");
        await server.WaitForOutputAsync(command => command.Output.Contains("serving", StringComparison.Ordinal), Limit);
        return target.Sweep("random");
    }
}

/// <summary>How long moving these bytes took, and the CPU seconds of both sides.</summary>
internal readonly record struct PushTime(ulong Bytes, double Seconds, double CpuSeconds)
{
    public double GBps => Bytes / 1e9 / Seconds;

    public double CpuSecondsPerGiB => CpuSeconds / (Bytes / (double)(1 << 30));
}
