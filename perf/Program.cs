using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using PostCopy.Perf.Comparison;

// perf compare [--quick]        ours against stock CRIU and against the bare system calls: eng/bench.sh
// perf precopy [--quick]        with --pre-copy against without: eng/bench-precopy.sh
// perf --filter PATTERN...      micro-benchmarks (BenchmarkDotNet's options)
if (args is ["compare", .. var options])
{
    return await ComparisonRun.RunAsync(quick: options.Contains("--quick"));
}

if (args is ["precopy", .. var precopyOptions])
{
    return await new PreCopyComparison(quick: precopyOptions.Contains("--quick")).RunAsync();
}

// In this process: it has the product's run-time settings already, and nothing must be built again for each benchmark.
IConfig config = DefaultConfig.Instance
    .AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance))
    .AddDiagnoser(MemoryDiagnoser.Default);
return BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args, config).Any(summary => summary.HasCriticalValidationErrors) ? 1 : 0;
