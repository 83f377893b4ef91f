using System.Diagnostics;
using System.Globalization;
using PostCopy.Linux;
using PostCopy.Tests.TestBed;
using PostCopy.Tracking;
using Xunit.Abstractions;

namespace PostCopy.Tests.Tracking;

/// <summary>The injection of a system call must not be noticed by its target, whenever whoever injects it dies.</summary>
public sealed class InjectionTests(ITestOutputHelper output)
{
    /// <summary>An injector that was not killed before is killed after so long at the latest; its start alone takes a good part of that.</summary>
    private const int LongestLifeMs = 60;

    public static TheoryData<string> Modes => ["compute", "sleep", "signals", "read", "own-stack", "filtered"];

    [SkippableTheory]
    [MemberData(nameof(Modes))]
    public async Task A_target_does_not_notice(string mode)
    {
        Require();
        using TracedProgram target = await TracedProgram.StartAsync(mode);
        using InjectorProcess injector = new(Repository.PostCopy);
        for (int i = 0; i < 200; i++)
        {
            _ = Libc.close(injector.Steal(target.Pid, closeLeftovers: false));
            target.AssertUndisturbed();
        }

        await target.WaitUntilItGoesOnAsync();
        Assert.Equal(0, target.Userfaultfds());
    }

    /// <summary>The time that was slept before an interruption counts: begun anew each time, the sleep would not end while it is interrupted more often than it is long.</summary>
    [SkippableFact]
    public async Task A_sleep_that_is_interrupted_over_and_over_ends()
    {
        Require();
        using TracedProgram target = await TracedProgram.StartAsync("long-sleep");
        using InjectorProcess injector = new(Repository.PostCopy);
        long before = target.Done;
        await Condition.WaitAsync(
            () =>
            {
                _ = Libc.close(injector.Steal(target.Pid, closeLeftovers: false));
                target.AssertUndisturbed();
                return target.Done >= before + 3;
            },
            TimeSpan.FromSeconds(60),
            "three sleeps to end");
        Assert.Equal(0, target.Userfaultfds());
    }

    /// <summary>
    /// Kills injectors at random instants. What one leaves, a descriptor at most, the next one puts away. POSTCOPY_KILL_ROUNDS says how many, POSTCOPY_SEED
    /// begins a run anew.
    /// </summary>
    [SkippableTheory]
    [MemberData(nameof(Modes))]
    public async Task A_target_heals_when_the_injector_dies(string mode)
    {
        Require();
        int seed = Environment.GetEnvironmentVariable("POSTCOPY_SEED") is { Length: > 0 } given ? int.Parse(given, CultureInfo.InvariantCulture) : Environment.TickCount;
        int rounds = Environment.GetEnvironmentVariable("POSTCOPY_KILL_ROUNDS") is { Length: > 0 } many ? int.Parse(many, CultureInfo.InvariantCulture) : 12;
        output.WriteLine($"POSTCOPY_SEED={seed}");
        Random random = new(seed);
        using TracedProgram target = await TracedProgram.StartAsync(mode);
        int killedAtWork = 0;
        int leftBehind = 0;
        for (int round = 0; round < rounds; round++)
        {
            using InjectorProcess injector = new(Repository.PostCopy);
            // The first one shows that it is there; what comes then is work without a pause.
            _ = Libc.close(injector.Steal(target.Pid, closeLeftovers: true));
            int pid = injector.Pid;
            TimeSpan life = TimeSpan.FromMilliseconds(random.NextDouble() * LongestLifeMs);
            Thread killer = new(() =>
            {
                Thread.Sleep(life);
                ProcessSignal.Kill(pid);
            });
            killer.Start();
            long until = Stopwatch.GetTimestamp();
            while (injector.Pid == pid && Stopwatch.GetElapsedTime(until) < TimeSpan.FromSeconds(30))
            {
                _ = Libc.close(injector.Steal(target.Pid, closeLeftovers: leftBehind > 0 || injector.MayHaveLeftSomething));
            }

            killer.Join();
            killedAtWork += injector.Pid == pid ? 0 : 1;
            leftBehind += target.Userfaultfds();
            target.AssertUndisturbed();
        }

        await target.WaitUntilItGoesOnAsync();
        output.WriteLine($"{killedAtWork} injectors killed, {leftBehind} descriptors left by the last of them");
        Assert.Equal(rounds, killedAtWork);
        Assert.Equal(0, target.Userfaultfds());
    }

    private static void Require()
    {
        Bed.RequirePostCopy();
        Skip.IfNot(System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.X64, "injection is for x86-64");
    }
}
