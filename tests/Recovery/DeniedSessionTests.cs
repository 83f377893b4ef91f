using System.Text.Json.Nodes;
using PostCopy.Tests.TestBed;

namespace PostCopy.Tests.Recovery;

/// <summary>The destination's agent lives and knows nothing of a session whose container runs there: that is no proof that the container is gone.</summary>
public sealed class DeniedSessionTests
{
    [SkippableFact]
    public async Task An_agent_that_was_started_on_other_files_does_not_make_two_copies()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await scene.KillMigrateAsync();
        string session = Assert.Single(await scene.StatusAsync("a")).GetProperty("session").GetString()!;
        await scene.KillAgentAsync();
        await using (RunningAgent other = await scene.Lab["b"].StartAgentAsync("--state-dir", "/run/elsewhere"))
        {
            CommandResult refused = await scene.AbortAsync(session, "--destination-is-dead");
            Assert.True(refused.ExitCode == ExitCode.HandedOff && refused.Error.Contains("has not been started anew", StringComparison.Ordinal), $"{refused}");
            Assert.Equal("paused", await scene.Walker.Container.StatusOnAsync(scene.Lab["a"]));
        }

        await scene.Lab["b"].RunAsync("rm", "-rf", "/run/elsewhere");
        await scene.RestartAgentAsync();
        await scene.ResumeAsync(session);
        await scene.ExpectMovedAsync();
    }

    [SkippableFact]
    public async Task A_session_whose_files_are_damaged_is_not_taken_for_one_that_is_gone()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await scene.KillMigrateAsync();
        string session = Assert.Single(await scene.StatusAsync("a")).GetProperty("session").GetString()!;
        string record = $"/run/postcopy/{session}-destination/destination.json";
        await scene.KillAgentAsync();
        await scene.Lab["b"].RunAsync("sh", "-c", $"mv {record} {record}.kept && echo '{{' >{record}");
        await scene.RestartAgentAsync();
        CommandResult refused = await scene.AbortAsync(session, "--destination-is-dead");
        Assert.True(refused.ExitCode == ExitCode.HandedOff && refused.Error.Contains("cannot be said", StringComparison.Ordinal), $"{refused}");

        // The agent finds out by itself that it can go on.
        await scene.Lab["b"].RunAsync("mv", $"{record}.kept", record);
        await scene.ResumeAsync(session);
        await scene.ExpectMovedAsync();
    }

    /// <summary>Hosts of the lab have one kernel: that the destination had another one then is written down instead.</summary>
    [SkippableFact]
    public async Task A_host_that_was_started_anew_is_believed()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await scene.KillMigrateAsync();
        string session = Assert.Single(await scene.StatusAsync("a")).GetProperty("session").GetString()!;
        await scene.KillAgentAsync();
        await scene.Walker.Container.RemoveFromAsync(scene.Lab["b"]);
        await scene.Lab["b"].RunAsync("sh", "-c", "rm -rf /run/postcopy/*");
        await scene.RestartAgentAsync();

        string record = $"/run/postcopy/{session}-source/source.json";
        JsonObject written = JsonNode.Parse(await scene.Lab["a"].RunAsync("cat", record))!.AsObject();
        string boot = Assert.IsAssignableFrom<JsonValue>(written["DestinationBootId"]).GetValue<string>();
        Assert.Equal((await File.ReadAllTextAsync("/proc/sys/kernel/random/boot_id")).Trim(), boot);
        await scene.Lab["a"].RunAsync("sed", "-i", $"s/{boot}/00000000-0000-0000-0000-000000000000/", record);
        CommandResult aborted = await scene.AbortAsync(session, "--destination-is-dead");
        Assert.True(aborted.ExitCode == ExitCode.RolledBack, $"{aborted}");
        await scene.Walker.WaitUntilItLivesAsync();
        await scene.Walker.VerifyAsync();
        await scene.Walker.Container.RemoveFromAsync(scene.Lab["a"]);
    }

    [SkippableFact]
    public async Task A_full_state_directory_does_not_keep_a_broken_link_from_being_made_again()
    {
        await using Scene scene = await Scene.StartAsync(static async lab => await lab["a"].MountTmpfsAsync("/run/postcopy", "8m"));
        await scene.DrainSlowlyAsync();
        await scene.Lab["a"].TryAsync("sh", "-c", "dd if=/dev/zero of=/run/postcopy/full bs=4k; df /run/postcopy | grep -q 100%");
        await scene.Lab["b"].RunAsync("ss", "-K", "sport", "=", ":7077");
        await Condition.WaitAsync(() => scene.Agent.Process.Error.Contains("is back", StringComparison.Ordinal), TimeSpan.FromSeconds(60), "the source to come back");
        await scene.ExpectMovedAsync();
    }

    /// <summary>An agent that took over asks runc once whether the restore that it did not see the end of has done its part.</summary>
    [SkippableFact]
    public async Task A_runc_that_fails_once_after_a_take_over_is_asked_again()
    {
        await using Scene scene = await Scene.StartAsync();
        await scene.DrainSlowlyAsync();
        await scene.WaitAWhileAsync();
        string shared = scene.Lab.Shared;
        await File.WriteAllTextAsync($"{shared}/runc.sh", $"""
            #!/bin/sh
            case " $* " in *" state "*) [ -e {shared}/runc-failed ] || [ -e {shared}/runc-works ] || {"{"} : >{shared}/runc-failed; echo 'no file is free' >&2; exit 1; {"}"};; esac
            exec {shared}/runc.real "$@"

            """);
        await scene.Lab["b"].RunAsync("sh", "-c", $"runc=$(command -v runc) && cp \"$runc\" {shared}/runc.real && chmod 0755 {shared}/runc.sh && mount --bind {shared}/runc.sh \"$runc\"");
        await scene.KillAgentAsync();
        await scene.RestartAgentAsync();
        await Condition.WaitAsync(() => File.Exists($"{shared}/runc-failed"), TimeSpan.FromSeconds(60), "the agent to ask runc");
        await scene.UnlimitRateAsync();
        (await scene.Migration.WaitAsync()).Expect(ExitCode.Moved, "moved");
        await scene.Lab["b"].RunAsync("sh", "-c", "umount \"$(command -v runc)\"");
        await scene.ExpectWholeOnDestinationAsync();
    }
}
