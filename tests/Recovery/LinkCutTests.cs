using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>The connection breaks while pages are owed: the container waits where it must, and nothing is missing when the connection is back.</summary>
public sealed class LinkCutTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [SkippableTheory]
    [InlineData("a")]
    [InlineData("b")]
    public async Task A_link_that_is_cut_for_seconds_is_used_again(string host)
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await scene.Lab[host].CutAsync();
        await scene.WaitAWhileAsync();
        Assert.False(scene.Migration.Process.HasExited, "nothing was owed any more when the link was cut");
        await scene.Lab[host].MendAsync();
        await scene.ExpectMovedAsync();
    }

    /// <summary>
    /// Half-open: what one host says does not arrive, and what it hears does. Whoever speaks into the void finds out; the other one must not take the
    /// silence for peace.
    /// </summary>
    [SkippableTheory]
    [InlineData("a")]
    [InlineData("b")]
    public async Task A_link_that_is_dead_in_one_direction_is_noticed_and_used_again(string mute)
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await scene.Lab[mute].RunAsync("iptables", "-A", "OUTPUT", "-o", "eth0", "-j", "DROP");
        await Condition.WaitAsync(() => scene.Count("stalled") >= 1, Limit, "the source to notice");
        await Condition.WaitAsync(() => scene.Agent.Process.Error.Contains("cannot get them now", StringComparison.Ordinal), Limit, "the agent to notice");
        await scene.Lab[mute].RunAsync("iptables", "-D", "OUTPUT", "-o", "eth0", "-j", "DROP");
        await scene.ExpectMovedAsync();
    }

    /// <summary>The lanes are reset: the source notices at once and need not wait for silence.</summary>
    [SkippableFact]
    public async Task Connections_that_are_killed_are_made_again()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        // Each round takes some seconds.
        await scene.LimitRateAsync(1);
        for (int round = 0; round < 3; round++)
        {
            await scene.Lab["b"].RunAsync("ss", "-K", "sport", "=", ":7077");
            int broken = round + 1;
            await Condition.WaitAsync(() => scene.Count("stalled") >= broken, Limit, "the source to notice");
            await Condition.WaitAsync(() => scene.Count("memory follows") > broken, Limit, "the source to connect again");
        }

        await scene.ExpectMovedAsync();
    }

    [SkippableFact]
    public async Task A_silent_link_is_noticed_and_a_stopped_source_comes_back()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await scene.Lab["b"].CutAsync();
        await Condition.WaitAsync(() => scene.Count("stalled") >= 1, Limit, "the source to notice the silence");
        await Condition.WaitAsync(() => scene.Agent.Process.Error.Contains("cannot get them now", StringComparison.Ordinal), Limit, "the agent to notice the silence");
        await scene.Lab["b"].MendAsync();
        await scene.ExpectMovedAsync();
    }
}
