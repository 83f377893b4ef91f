using System.Net;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using PostCopy.Perf.Comparison;
using PostCopy.Perf.Support;

// perf compare [--quick] [--only PART[,PART]]   ours against stock CRIU and against the bare system calls: eng/bench.sh
// perf precopy [--quick] [PROGRAM...]           with --pre-copy against without: eng/bench-precopy.sh
// perf delay-proxy LISTEN TO MILLISECONDS       a wire that is long
// perf redis-writer KEYS PER-SECOND ADDRESS...  a steady load, for "precopy"
// perf --filter PATTERN...                      micro-benchmarks (BenchmarkDotNet's options)
if (args is ["compare", .. var options])
{
    string[] parts = options.SkipWhile(static option => option != "--only").Skip(1).Take(1).SelectMany(static list => list.Split(',')).ToArray();
    if (parts.Except(ComparisonRun.Parts).Any() || options.Except(["--quick", "--only", string.Join(',', parts)]).Any())
    {
        Console.Error.WriteLine($"perf: compare [--quick] [--only PART[,PART...]], where a PART is one of {string.Join(", ", ComparisonRun.Parts)}");
        return 2;
    }

    return await ComparisonRun.RunAsync(quick: options.Contains("--quick"), parts is [] ? ComparisonRun.Parts : parts);
}

if (args is ["delay-proxy", var listen, var to, var milliseconds])
{
    await DelayProxy.RunAsync(IPEndPoint.Parse(listen), IPEndPoint.Parse(to), TimeSpan.FromMilliseconds(int.Parse(milliseconds)));
}

if (args is ["redis-writer", var keys, var writesPerSecond, .. var addresses])
{
    new RedisWriter(int.Parse(keys), int.Parse(writesPerSecond), [.. addresses.Select(IPEndPoint.Parse)]).Run();
}

if (args is ["precopy", .. var precopyOptions])
{
    string[] programs = [.. precopyOptions.Except(["--quick"])];
    if (programs.Except(PreCopyComparison.Programs).Any())
    {
        Console.Error.WriteLine($"perf: precopy [--quick] [PROGRAM...], where a PROGRAM is one of {string.Join(", ", PreCopyComparison.Programs)}");
        return 2;
    }

    return await new PreCopyComparison(quick: precopyOptions.Contains("--quick")).RunAsync(programs is [] ? PreCopyComparison.Programs : programs);
}

// In this process: it has the product's run-time settings already, and nothing must be built again for each benchmark.
IConfig config = DefaultConfig.Instance
    .AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance))
    .AddDiagnoser(MemoryDiagnoser.Default);
return BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, config).Any(summary => summary.HasCriticalValidationErrors) ? 1 : 0;
