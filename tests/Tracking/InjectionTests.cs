using System.Diagnostics;
using System.Globalization;
using PostCopy.Linux;
using PostCopy.Pages;
using PostCopy.Tests.TestBed;
using PostCopy.Tracking;
using Xunit.Abstractions;

namespace PostCopy.Tests.Tracking;

/// <summary>The injection of a system call must not be noticed by its target, whenever whoever injects it dies.</summary>
public sealed class InjectionTests(ITestOutputHelper output)
{
    /// <summary>An injector that was not killed before is killed after so long at the latest; its start alone takes a good part of that.</summary>
    private const int LongestLifeMs = 60;

    public static TheoryData<string> Modes => ["compute", "sleep", "signals", "read", "own-stack", "filtered", "sequence"];

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

    /// <summary>Who does not stop is let go: its tracer ends, and nothing of it waits for somebody who is not there any more.</summary>
    [SkippableFact]
    public async Task A_target_that_does_not_stop_is_let_go()
    {
        Require();
        using TracedProgram target = await TracedProgram.StartAsync("vfork");
        using InjectorProcess injector = new(Repository.PostCopy);
        TrackingException refusal = Assert.Throws<TrackingException>(() => StealForEver(injector, target));
        Assert.Contains("does not stop", refusal.Message, StringComparison.Ordinal);
        await Condition.WaitAsync(() => TaskTree.TracerOf(target.Pid) == 0, TimeSpan.FromSeconds(10), "the tracer to let it go");
        await target.WaitUntilItGoesOnAsync();
        Assert.Equal(0, target.Userfaultfds());
    }

    /// <summary>A process that is killed while it is held is its parent's to reap, not the tracer's.</summary>
    [SkippableFact]
    public async Task A_target_that_is_killed_while_it_is_held_ends()
    {
        Require();
        using InjectorProcess injector = new(Repository.PostCopy);
        using (TracedProgram first = await TracedProgram.StartAsync("compute"))
        {
            _ = Libc.close(injector.Steal(first.Pid, closeLeftovers: false));
        }

        Random random = new(1);
        for (int i = 0; i < 20; i++)
        {
            using TracedProgram target = await TracedProgram.StartAsync("compute");
            double life = random.NextDouble() * 10;
            Thread killer = new(() =>
            {
                Thread.Sleep(TimeSpan.FromMilliseconds(life));
                ProcessSignal.Kill(target.Pid);
            });
            killer.Start();
            Assert.ThrowsAny<IOException>(() => StealForEver(injector, target));
            killer.Join();
            await target.WaitForEndAsync(TimeSpan.FromSeconds(10));
        }
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
                _ = Libc.close(injector.Steal(target.Pid, closeLeftovers: leftBehind > 0));
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

    /// <summary>Until it cannot be had.</summary>
    private static void StealForEver(InjectorProcess injector, TracedProgram target)
    {
        while (true)
        {
            _ = Libc.close(injector.Steal(target.Pid, closeLeftovers: false));
        }
    }

    private static void Require()
    {
        Bed.RequirePostCopy();
        Skip.IfNot(System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.X64, "injection is for x86-64");
    }
}
